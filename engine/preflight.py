"""Whether the models that the settings name are there, asked before either is loaded."""

from __future__ import annotations

import os

from engine.config import EngineSettings
from engine.llm.load import read_key
from engine.models import resolve


def check_models(settings: EngineSettings) -> None:
    """Find both models; a name of the hub is fetched. Raises ``ModelError``.

    Loading a large language model takes minutes and cannot be interrupted: who mistyped the name
    of the speech model is not to wait for it.
    """
    resolve(settings.asr_model, "asr", settings.home)
    if settings.llm == "llamacpp":
        resolve(settings.llm_model, "llm", settings.home)
    elif settings.llm == "exllamav2":
        from engine.llm.exllama_model import model_folder, require

        require(settings)
        model_folder(settings.llm_model)
    elif settings.llm == "openai":
        read_key(settings.llm_key_file, os.environ)
