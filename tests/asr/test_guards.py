"""The guards against invented text, and the bounds of the short context."""

from __future__ import annotations

import numpy as np
import pytest

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.guards import (
    CONTEXT_BUCKETS_S,
    FULL_CONTEXT_S,
    RETRY_TEMPERATURES,
    Verdict,
    context_s,
    judge,
    repeats,
    retry,
    token_cap,
)
from engine.types import SAMPLE_RATE


def job(seconds: float = 5.0) -> AsrJob:
    return AsrJob(1, 0, 0, np.zeros(round(seconds * SAMPLE_RATE), np.float32), is_final=True)


def test_the_context_has_a_floor_a_margin_and_an_end() -> None:
    assert context_s(0.3) == CONTEXT_BUCKETS_S[0]
    assert all(context_s(s) >= min(s + 4, FULL_CONTEXT_S) for s in np.arange(0, 29, 0.1))
    assert context_s(29) == FULL_CONTEXT_S
    assert context_s(1, full=True) == FULL_CONTEXT_S


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((7,) * 8, True),
        ((1, 2, 3) + (7, 8) * 4, True),
        ((7,) * 4, False),  # "no no no no" may be meant
        (tuple(range(40)), False),
        ((7, 8) * 4 + (9,), False),  # it got out of the loop
        ((), False),
    ],
)
def test_repetition(tokens: tuple[int, ...], expected: bool) -> None:
    assert repeats(tokens) is expected


def test_a_sound_hypothesis_is_kept() -> None:
    sound = Hypothesis(job(), tuple(range(9)), " What was your favourite?", avg_logprob=-0.3)
    assert judge(sound) is Verdict.KEEP


def test_unlikely_words_over_likely_silence_are_no_speech() -> None:
    doubtful = Hypothesis(job(), (1, 2), " Thanks.", avg_logprob=-1.4, no_speech_prob=0.8)
    assert judge(doubtful) is Verdict.NO_SPEECH


@pytest.mark.parametrize(
    "hypothesis",
    [
        Hypothesis(job(), (1, 2), " Um.", avg_logprob=-1.4, no_speech_prob=0.1),
        Hypothesis(job(1), tuple(range(token_cap(1))), " Too much for a second."),
        Hypothesis(job(), (5, 6) * 20, " and so" * 20),
        Hypothesis(job(20), tuple(range(90)), " it goes on and on and then some more" * 6),
    ],
    ids=["unlikely", "too many tokens", "loop", "compresses too well"],
)
def test_doubtful_text_is_tried_again(hypothesis: Hypothesis) -> None:
    assert judge(hypothesis) is Verdict.RETRY


def test_tries_are_more_careful_each_time_and_end() -> None:
    current: AsrJob | None = job()
    tries = []
    while current is not None and (current := retry(current)) is not None:
        tries.append(current)
    assert [t.temperature for t in tries] == list(RETRY_TEMPERATURES)
    assert all(t.full_context for t in tries)
