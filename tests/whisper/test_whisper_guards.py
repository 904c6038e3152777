"""A segment that fails its guards is decoded again with care, and its neighbours never notice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from whisper_cases import read_phrase

from engine.asr.backend import AsrJob
from engine.asr.guards import Verdict, judge
from engine.asr_lane import AsrLane, Heard, Submit
from engine.types import Pcm
from engine.whisper.backend import TorchWhisper

pytestmark = pytest.mark.models

DOUBTFUL, CLEAR = 0, (1, 2, 3)


@pytest.fixture(scope="module")
def backend(whisper_tiny: Path) -> TorchWhisper:
    return TorchWhisper(whisper_tiny, compute_type="float32", threads=1, slots=4)


def hear(backend: TorchWhisper, jobs: list[AsrJob]) -> list[Heard]:
    """Everything that a lane makes of ``jobs``, in the order in which it comes back."""
    lane = AsrLane(backend, lambda _: None, clock=lambda: 0.0)
    heard = lane.turn([Submit(job) for job in jobs])
    while not lane.idle:
        heard += lane.turn([])
    return heard


def test_a_phrase_that_it_cannot_hear_is_tried_again_last_and_changes_nobodys_text(
    backend: TorchWhisper, phrases: Path, english: dict[str, Pcm]
) -> None:
    chinese = read_phrase(phrases, "zh/pangrama")
    jobs = [AsrJob(DOUBTFUL, 0, 0, chinese, is_final=True)]
    jobs += [AsrJob(key, 0, 0, pcm, True) for key, pcm in zip(CLEAR, english.values(), strict=True)]
    together = hear(backend, jobs)
    by_key = {heard.hypothesis.job.key: heard for heard in together}
    assert len(by_key) == len(together) == len(jobs)
    assert together[-1] is by_key[DOUBTFUL], "it held up those who came with it"
    tried = by_key[DOUBTFUL].hypothesis
    assert tried.job.attempt >= 1
    assert tried.job.full_context
    assert by_key[DOUBTFUL].verdict is judge(tried)
    for key in CLEAR:
        heard = by_key[key]
        assert (heard.hypothesis.job.attempt, heard.verdict) == (0, Verdict.KEEP)
        backend.cancel(key)
        (alone,) = hear(backend, [jobs[key]])
        assert alone.hypothesis.tokens == heard.hypothesis.tokens


def test_the_temperature_rises_until_a_try_is_believed_or_none_is_left(
    backend: TorchWhisper, phrases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[AsrJob] = []
    submit = backend.submit

    def watched(jobs: Sequence[AsrJob]) -> None:
        tries.extend(jobs)
        submit(jobs)

    monkeypatch.setattr(backend, "submit", watched)
    backend.cancel(DOUBTFUL)
    job = AsrJob(DOUBTFUL, 0, 0, read_phrase(phrases, "zh/pangrama"), is_final=True)
    (heard,) = hear(backend, [job])
    made = [(each.temperature, each.full_context) for each in tries]
    assert len(made) >= 2
    assert made == [(0.0, False), (0.0, True), (0.4, True), (0.8, True)][: len(made)]
    assert (heard.verdict is Verdict.RETRY) <= (len(made) == 4)
