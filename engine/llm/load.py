"""From settings to a language model that can answer."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from engine.config import EngineSettings
from engine.errors import ModelError
from engine.llm.backend import LlmBackend, Wake
from engine.llm.echo import Echo
from engine.models import resolve

KEY_VARIABLE = "ANTIPHON_LLM_KEY"


def load(settings: EngineSettings, wake: Wake) -> LlmBackend:
    """Load what ``settings.llm`` names; ``warmup`` is still to be called. Raises ``ModelError``."""
    if settings.llm == "echo":
        return Echo(settings.llm_slots)
    if settings.llm == "openai":
        from engine.llm.openai import OpenAi

        return OpenAi(settings, read_key(settings.llm_key_file, os.environ), wake)
    if settings.llm == "exllamav2":
        from engine.llm.exllama import ExLlama
        from engine.llm.exllama_model import model_folder, require

        require(settings)  # before the folder: it names what to use instead
        return ExLlama(settings, model_folder(settings.llm_model))
    from engine.llm.llamacpp import LlamaCpp  # its library only where it is used

    return LlamaCpp(settings, resolve(settings.llm_model, "llm", settings.home), wake)


def read_key(file: Path | None, environ: Mapping[str, str]) -> str | None:
    """The key of a remote server: from a file or from ``ANTIPHON_LLM_KEY``, never from a flag.

    Raises ``ModelError`` if it cannot be read, or is given twice.
    """
    key = environ.get(KEY_VARIABLE, "").strip()
    if file is not None:
        if key:
            raise ModelError(f"llm_key_file and {KEY_VARIABLE}: give one")
        try:
            key = file.expanduser().read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"llm_key_file: cannot read {file}: {error}") from error
    if not re.fullmatch(r"[!-~]*", key):  # or the library would complain, and show it
        raise ModelError("the language model's key holds spaces or characters that no key has")
    return key or None
