"""The demo's spoken question is what the demo says it is."""

from __future__ import annotations

import wave
from importlib import resources
from pathlib import Path

import pytest

QUESTION = Path(str(resources.files("server"))) / "assets" / "question.wav"


def test_the_question_is_short_mono_16_khz() -> None:
    with wave.open(str(QUESTION)) as audio:
        assert (audio.getnchannels(), audio.getsampwidth(), audio.getframerate()) == (1, 2, 16_000)
        assert 2 <= audio.getnframes() / audio.getframerate() <= 4
    assert QUESTION.stat().st_size < 120_000


@pytest.mark.models
def test_whisper_hears_the_question(whisper_base: Path) -> None:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(whisper_base), device="cpu", compute_type="int8", cpu_threads=1)
    segments, info = model.transcribe(str(QUESTION), beam_size=1)
    assert "".join(segment.text for segment in segments) == " What is the capital of France?"
    assert info.language == "en"
