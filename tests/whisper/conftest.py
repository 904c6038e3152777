"""Loaded models, once for all tests of the engine's own Whisper."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor
from whisper_cases import ENGLISH, encode, read_phrase

from engine.types import Pcm
from engine.whisper.model import WhisperModel


@pytest.fixture(scope="session")
def tiny(whisper_tiny: Path) -> WhisperModel:
    """tiny.en in float32 on the CPU, four slots."""
    return WhisperModel(whisper_tiny, "cpu", "float32", slots=4)


@pytest.fixture(scope="session")
def english(phrases: Path) -> dict[str, Pcm]:
    return {name: read_phrase(phrases, name) for name in ENGLISH}


@pytest.fixture(scope="session")
def english_states(tiny: WhisperModel, english: dict[str, Pcm]) -> list[Tensor]:
    """Encoder states of the phrases, ten seconds of context each."""
    return [encode(tiny, pcm) for pcm in english.values()]
