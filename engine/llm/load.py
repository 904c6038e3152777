"""From settings to a language model that can answer."""

from __future__ import annotations

from engine.config import EngineSettings
from engine.llm.backend import LlmBackend, Wake
from engine.llm.echo import Echo
from engine.models import resolve


def load(settings: EngineSettings, wake: Wake) -> LlmBackend:
    """Load what ``settings.llm`` names; ``warmup`` is still to be called. Raises ``ModelError``."""
    if settings.llm == "echo":
        return Echo(settings.llm_slots)
    if settings.llm == "exllamav2":
        from engine.llm.exllama import ExLlama
        from engine.llm.exllama_model import model_folder, require

        require(settings)  # before the folder: it names what to use instead
        return ExLlama(settings, model_folder(settings.llm_model))
    from engine.llm.llamacpp import LlamaCpp  # its library only where it is used

    return LlamaCpp(settings, resolve(settings.llm_model, "llm", settings.home), wake)
