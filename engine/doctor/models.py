"""Whether the models that the settings name are here, and as registered."""

from __future__ import annotations

from collections.abc import Iterator

from engine.config import EngineSettings
from engine.doctor.finding import Finding, failure, note, ok
from engine.errors import ModelError
from engine.models import registry, verify


def check_models(settings: EngineSettings) -> Iterator[Finding]:
    """Hash the embedded models that would be used; others are left to the trials."""
    yield _model("speech model", settings.asr_model, settings)
    if settings.llm == "llamacpp":
        yield _model("language model", settings.llm_model, settings)
    else:
        yield note("language model", f"{settings.llm}: nothing to verify")


def _model(check: str, name: str, settings: EngineSettings) -> Finding:
    model = registry().get(name)
    if model is None:
        return note(check, f"{name} is not an embedded model: there is no hash to hold it against")
    try:
        verify(model, settings.home)
    except ModelError as error:
        detail, _, advice = str(error).rpartition(": ")
        return failure(check, detail, advice)
    return ok(check, f"{name}: every file is as registered")
