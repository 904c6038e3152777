"""The time to the final text: which utterances, where their speech ends, what is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import final_time, page
from benchmarks.final_time import Heard, Utterance
from benchmarks.load import results
from engine.config import EngineSettings
from engine.types import SAMPLE_RATE, Pcm
from engine.vad.silero import SileroVad
from server.audio_file import read_pcm

SECOND = np.zeros(SAMPLE_RATE, np.float32)


def utterance(text: str) -> Utterance:
    return Utterance("a/b.flac", text, SECOND)


def run() -> dict[str, object]:
    said = [utterance("red green blue white"), utterance("black")]
    ours = [Heard("Red, green, blew, white.", 0.1, 0.001, 2, 1), Heard("Black.", 0.3, 0.002, 4, 3)]
    theirs = [("red green blue white", 1.0), ("black", 1.0)]
    return {"asr": "torch/base"} | final_time.summary("as recorded", said, ours, theirs)


def test_both_sides_are_counted_alike() -> None:
    made = run()
    assert made["ratio"] == pytest.approx({"p50": 0.2, "p95": 0.29, "mean": 0.2})
    assert made["antiphon"]["wer_percent"] == pytest.approx(20)
    assert made["faster_whisper"]["wer_percent"] == 0
    assert made["passes_after_the_end_mean"] == 2
    assert made["partials_mean"] == 3
    assert made["sent_late_max_ms"] == pytest.approx(2)
    assert made["speech_s"] == 2


def test_a_backend_that_counts_no_passes_has_none() -> None:
    heard = [Heard("One.", 0.1, 0.0, 0, None)]
    made = final_time.summary("as recorded", [utterance("one")], heard, [("one", 1.0)])
    assert made["passes_after_the_end_mean"] is None


def test_the_page_shows_it(tmp_path: Path) -> None:
    about = {"model": "base", "threads": 2, "partial_interval_s": 1.0}
    result = results.start("final_time", about) | {"runs": [run()]}
    results.write(result, tmp_path / "results" / "final_time.json")
    page.build(tmp_path / "results", tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| as recorded | 2 | 0.200 | 0.290 | 0.200 | 1.000 | 1.000 | 1.000 | 0.200 |" in text
    assert "`torch/base` on 2 threads, partial transcripts each 1 s." in text


@pytest.mark.models
def test_speech_ends_before_the_pause(phrases: Path) -> None:
    pcm = _read(phrases / "en" / "quick_brown_fox.wav")
    settings, vad = EngineSettings(), SileroVad(1)
    end = final_time.end_of_speech(pcm, vad, settings)
    paused = final_time.end_of_speech(np.concatenate([pcm, SECOND, SECOND]), vad, settings)
    assert 0.8 * len(pcm) < end <= len(pcm)
    assert paused == pytest.approx(end, abs=0.1 * SAMPLE_RATE)


@pytest.mark.speech
def test_the_utterances_are_always_the_same(speech: Path) -> None:
    said = final_time.choose(speech, 12)
    assert len(said) == 12
    assert all(4 <= len(one.pcm) / SAMPLE_RATE <= 9 for one in said)
    assert len({one.name.split("/")[1].split("-")[0] for one in said}) >= 6  # speakers, books
    assert [one.name for one in final_time.choose(speech, 12)] == [one.name for one in said]


def _read(path: Path) -> Pcm:
    return np.frombuffer(b"".join(read_pcm(path)), "<i2").astype(np.float32) / 32768
