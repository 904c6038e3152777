"""What ends like a finished sentence."""

from __future__ import annotations

import numpy as np
import pytest

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.finished import ends_a_sentence, is_finished
from engine.types import SAMPLE_RATE

JOB = AsrJob(1, 0, 0, np.zeros(0, np.float32), is_final=False, until_sample=2 * SAMPLE_RATE)


@pytest.mark.parametrize(
    "text", [" Is it?", " Go!", " It is.", ' "It is."', "何ですか？", "そうです。", " It is. "]
)
def test_these_are_finished(text: str) -> None:
    assert ends_a_sentence(text)


@pytest.mark.parametrize("text", ["", " and", " Well...", " Well…", " one,", " “", " …?…"])
def test_these_go_on(text: str) -> None:
    assert not ends_a_sentence(text)


@pytest.mark.parametrize(
    ("logprobs", "average", "since_s", "finished"),
    [
        ((-0.1, -0.6), 0.0, 0.0, True),
        ((-0.1, -0.8), 0.0, 0.0, False),  # one token is in doubt
        ((-0.1, -0.6), 0.0, 0.2, True),
        ((-0.1, -0.6), 0.0, 0.25, False),  # a word may have been said since
        ((), -0.5, 0.0, True),  # CTranslate2 tells the average only
        ((), -0.8, 0.0, False),
    ],
)
def test_it_is_sure_and_of_this_moment(
    logprobs: tuple[float, ...], average: float, since_s: float, finished: bool
) -> None:
    heard = Hypothesis(JOB, (1, 2), " Yes.", "en", average, token_logprobs=logprobs)
    until_sample = JOB.until_sample + round(since_s * SAMPLE_RATE)
    assert is_finished(heard, until_sample) is finished
