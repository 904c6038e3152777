"""Sounds that nobody said are no speech, and short answers that somebody did say stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hums import hum
from spoken import read_clip, said

from benchmarks.joined import Listener
from engine.asr.backend import AsrBackend, AsrJob, Hypothesis
from engine.asr.fillers import is_filler
from engine.asr.guards import Verdict, judge
from engine.types import SAMPLE_RATE, Pcm, SessionOptions

HUMS = [
    (hz, depth, modulated_hz)
    for hz in (80, 100, 120, 150)
    for depth, modulated_hz in ((0.5, 4), (0.5, 6), (1.0, 2), (1.0, 4))
]
# Single words cut out of sentences, by the seconds, and what may be heard in them.
SHORT = {
    ("questions/en-accent-25.flac", 0.0, 1.5): {"no"},
    ("librispeech/1688-142285-0005.flac", 0.0, 0.75): {"you", "yes"},
}


@pytest.fixture(scope="module")
def listener(backend: AsrBackend) -> Listener:
    return Listener(backend)


def judged(text: str, no_speech: float, voiced: float, logprob: float = -0.9) -> Verdict:
    frames = np.full(30, voiced, np.float32)
    job = AsrJob(1, 0, 0, np.zeros(SAMPLE_RATE, np.float32), is_final=True, frames=frames)
    return judge(Hypothesis(job, (1,), text, "en", logprob, no_speech))


@pytest.mark.parametrize("text", [" you", " Thank you.", " Thanks for watching!", " Vielen Dank.",
                                  " ご視聴ありがとうございました。", " ...", ""])  # fmt: skip
def test_a_known_output_for_nothing_with_weak_evidence_is_no_speech(text: str) -> None:
    assert is_filler(text)
    assert judged(text, no_speech=0.94, voiced=0.43) is Verdict.NO_SPEECH
    assert judged(text, no_speech=0.7, voiced=0.6) is Verdict.NO_SPEECH
    assert judged(text, no_speech=0.69, voiced=0.93) is Verdict.KEEP
    assert judged(text, no_speech=0.3, voiced=0.6) is Verdict.KEEP


def test_other_words_are_kept_and_so_is_what_was_settled() -> None:
    assert not is_filler(" You know what?")
    assert judged(" Turn it on.", no_speech=0.94, voiced=0.43) is Verdict.KEEP
    job = AsrJob(1, 0, 0, np.zeros(SAMPLE_RATE, np.float32), is_final=True)
    settled = Hypothesis(job, (1,), " you", "en", -0.9, 0.94)
    assert judge(settled) is Verdict.NO_SPEECH
    assert judge(replace(settled, job=replace(job, prefix=(1,)))) is Verdict.KEEP


@pytest.mark.parametrize(
    "text", [" 42.", " 5", " 1984", " 3.14", " 7-7", " 100 %", " №5", " 1 2 3"]
)
def test_a_number_is_an_answer(text: str) -> None:
    assert not is_filler(text)
    assert judged(text, no_speech=0.94, voiced=0.43) is Verdict.KEEP


def test_years_and_numbers_beside_known_words_do_not_count() -> None:
    for text in (" Copyright WDR 2021", " Sous-titrage ST' 501", " SWR 2018.", " Thank you. 2"):
        assert is_filler(text), text


@pytest.mark.models
@pytest.mark.parametrize("language", [None, "en"])
def test_a_hum_is_no_speech(listener: Listener, language: str | None) -> None:
    heard = {}
    for pitch in HUMS:
        for idle in (True, False):
            (final,) = listener.hear(
                hum(*pitch), options=SessionOptions(language=language), idle=idle
            )
            heard[pitch, idle] = final.text
    assert set(heard.values()) == {""}, {name: text for name, text in heard.items() if text}


@pytest.mark.models
@pytest.mark.speech
def test_noise_is_no_speech(listener: Listener, speech: Path) -> None:
    clips = sorted((speech / "nonspeech").glob("*.flac"))
    assert clips
    heard = {clip.name: listener.hear(read_clip(clip))[0].text for clip in clips}
    assert not [name for name, text in heard.items() if is_filler(text) and text], heard


@pytest.mark.models
@pytest.mark.speech
@pytest.mark.parametrize("idle", [True, False])
def test_a_short_answer_is_heard(listener: Listener, speech: Path, idle: bool) -> None:
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    for (clip, from_s, to_s), words in SHORT.items():
        said_alone: Pcm = read_clip(speech / clip)[
            round(from_s * SAMPLE_RATE) : round(to_s * SAMPLE_RATE)
        ]
        (final,) = listener.hear(
            np.concatenate([pause, said_alone, pause]),
            options=SessionOptions(language="en"),
            idle=idle,
        )
        assert words & said(final.text), final.text
