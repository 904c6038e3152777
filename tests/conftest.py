"""What every test may ask for: the embedded models and the speech corpus."""

from __future__ import annotations

import os
from pathlib import Path

# As in server/app.py, and before anything loads OpenMP: threads that sleep while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Servers under test refuse nobody for being slow: the machine may have other work.
os.environ.setdefault("ANTIPHON_LATENCY_TARGET_S", "0")

from engine.processor import restrict_from_environment

restrict_from_environment()

import pytest

from engine.models import find, resolve
from server.sources import load


@pytest.fixture(scope="session")
def models_home() -> Path:
    """Folder of models, ``ANTIPHON_HOME`` or the user's cache; `make test` has filled it."""
    return load({}, os.environ).home


@pytest.fixture(scope="session")
def whisper_base(models_home: Path) -> Path:
    """Folder of Whisper base in CTranslate2's format."""
    return resolve("base", "asr", models_home)


@pytest.fixture(scope="session")
def whisper_tiny(models_home: Path) -> Path:
    """Folder of Whisper tiny.en in CTranslate2's format."""
    return resolve("tiny.en", "asr", models_home)


@pytest.fixture(scope="session")
def smollm2(models_home: Path) -> Path:
    """GGUF file of SmolLM2-135M-Instruct."""
    return resolve("smollm2-135m-instruct", "llm", models_home)


@pytest.fixture(scope="session")
def phrases(models_home: Path) -> Path:
    """Folder of short spoken phrases: ``<language>/<name>.wav`` beside ``<name>.txt``."""
    model = find("phrases")
    assert model.is_pulled(models_home), "run `antiphon models pull phrases`"
    return model.folder(models_home)


@pytest.fixture(scope="session")
def speech() -> Path:
    """The speech corpus, which is not redistributed; skips where there is none."""
    folder = os.environ.get("ANTIPHON_SPEECH")
    if not folder:
        pytest.skip("ANTIPHON_SPEECH does not name the speech corpus")
    return Path(folder)
