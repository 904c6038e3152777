"""A wrong name of a model is told before minutes are spent on loading the other one."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import engine as engine_module
from engine.config import EngineSettings
from engine.engine import Engine
from engine.errors import ModelError


@pytest.mark.parametrize("wrong", [{"asr_model": "/no/such/model"}, {"llm_model": "no-such"}])
def test_a_wrong_model_is_told_before_any_is_loaded(
    wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded: list[str] = []

    def load(name: str) -> None:
        loaded.append(name)
        raise AssertionError(name)

    monkeypatch.setattr(engine_module, "load_asr", lambda settings, device: load("asr"))
    monkeypatch.setattr(engine_module, "load_llm", lambda settings, wake: load("llm"))
    folder = whisper_folder(tmp_path)
    settings = EngineSettings(**({"llm": "llamacpp", "asr_model": str(folder)} | wrong))  # type: ignore[arg-type]
    engine = Engine(settings, lambda events: None)
    with pytest.raises(ModelError, match=r"no[/-]such"):
        engine.start()
    assert loaded == []
    engine.close()


def whisper_folder(folder: Path) -> Path:
    """What looks like a Whisper model, as far as its files' names go."""
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.json"):
        (folder / name).touch()
    return folder
