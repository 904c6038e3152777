"""The search for the capacity, with planted ones; and speakers on a simulated clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.arrivals import Arrivals
from benchmarks.gpu.bench import Record
from benchmarks.gpu.capacity import Pattern, Trials, search
from benchmarks.gpu.search import most_carried
from benchmarks.gpu.talk import Talk, hold
from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.guards import Verdict
from engine.asr_lane import AsrLane, Heard
from engine.types import SAMPLE_RATE

PATTERN = Pattern((1.0, 2.0), (0.1, 0.3), warm_s=1.0, window_s=6.0)


class SimulatedClock:
    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at

    def sleep_until(self, at: float) -> None:
        assert at > self.at, "nobody waits for what has been"
        self.at = at


@dataclass
class FakeWhisper:
    """One batch a step, whose price is ``step_s``, or ``slow_s`` while more than ``carries``
    speakers take part. ``loses`` a final now and then."""

    clock: SimulatedClock
    carries: int = 10_000
    step_s: float = 0.001
    slow_s: float = 0.5
    loses: bool = False
    name: str = "fake"
    steps: int = 0
    cancelled: set[int] = field(default_factory=set)
    _keys: set[int] = field(default_factory=set)
    _jobs: list[AsrJob] = field(default_factory=list)

    @property
    def active(self) -> int:
        return len(self._jobs)

    def capacity(self, job: AsrJob) -> int:
        return 64

    def submit(self, jobs: Sequence[AsrJob]) -> None:
        self._jobs += jobs
        self._keys |= {job.key for job in jobs}

    def promote(self, job: AsrJob) -> None: ...

    def cancel(self, key: int, turn_id: int | None = None) -> None:
        self.cancelled.add(key)
        self._jobs = [job for job in self._jobs if job.key != key]

    def step(self) -> list[Hypothesis]:
        self.steps += 1
        self.clock.at += self.slow_s if len(self._keys) > self.carries else self.step_s
        jobs, self._jobs = self._jobs, []
        if self.loses and self.steps % 10 == 0:
            return [Hypothesis(job, error=RuntimeError("lost")) for job in jobs]
        return [Hypothesis(job, tokens=(1,), text=" word") for job in jobs]

    def decode(self, tokens: Sequence[int]) -> str:
        return ""

    def warmup(self) -> None: ...

    def close(self) -> None: ...

    def forget_keys(self) -> None:
        self._keys.clear()


def talk(whisper: FakeWhisper, speakers: int, until_s: float = 10.0) -> tuple[list[AsrJob], Talk]:
    jobs = PATTERN.arrivals(speakers, seed=3).jobs(until_s)
    lane = AsrLane(whisper, lambda _: None, whisper.clock.now)
    return jobs, hold(jobs, lane, whisper.clock, give_up_s=2.0)


@given(capacity=st.integers(0, 5000), start=st.integers(1, 300), most=st.integers(300, 4096))
@settings(deadline=None)
def test_a_planted_capacity_is_found(capacity: int, start: int, most: int) -> None:
    tried: list[int] = []

    def carried(load: int) -> bool:
        tried.append(load)
        return load <= capacity

    assert most_carried(carried, start, most, precision=0.0) == min(capacity, most)
    rough = most_carried(carried, start, most)
    assert rough <= min(capacity, most) <= max(rough + 1, 1.05 * rough + 1)
    assert all(1 <= load <= most for load in tried)


@given(speakers=st.integers(1, 12), step_s=st.floats(0.001, 0.2))
@settings(max_examples=25, deadline=None)
def test_every_utterance_is_answered_exactly_once(speakers: int, step_s: float) -> None:
    clock = SimulatedClock()
    jobs, found = talk(FakeWhisper(clock, step_s=step_s), speakers)
    finals = {(job.key, job.turn_id) for job in jobs if job.is_final}
    assert set(found.waits_s) == finals
    assert (found.doubled, found.failed, found.unanswered, found.hopeless) == (0, 0, {}, False)
    assert min(found.waits_s.values()) >= step_s * 0.99
    assert sum(found.partials.values()) <= sum(not job.is_final for job in jobs)
    assert found.busy_s <= found.wall_s + 1e-9


def test_waits_count_from_the_moment_and_not_from_when_the_lane_took_the_job() -> None:
    """Two that end while a step of 100 ms runs wait for it, and then for their own."""
    clock = SimulatedClock()
    pcm = PATTERN.arrivals(1, 1).sound
    assert pcm is not None
    moments_s = (0.0, 0.03, 0.05)
    jobs = [AsrJob(key, 0, 0, pcm[:SAMPLE_RATE], is_final=True, queued_at=at)
            for key, at in enumerate(moments_s)]  # fmt: skip
    lane = AsrLane(FakeWhisper(clock, step_s=0.1), lambda _: None, clock.now)
    waits_s = hold(jobs, lane, clock, give_up_s=2.0).waits_s
    assert list(waits_s.values()) == pytest.approx([0.1, 0.17, 0.15])


def test_finals_that_fail_or_come_twice_are_seen() -> None:
    clock = SimulatedClock()
    _, lost = talk(FakeWhisper(clock, loses=True), 4)
    assert lost.failed > 0
    final = AsrJob(1, 0, 0, np.zeros(16_000, np.float32), is_final=True)
    found = Talk()
    found.asked(final)
    for _ in range(2):  # the lane itself drops what comes twice
        found.take(Heard(Hypothesis(final, tokens=(1,), text=" word"), Verdict.KEEP), 1.0)
    assert (found.doubled, len(found.waits_s)) == (1, 1)


def test_a_hopeless_load_is_broken_off_and_cancelled() -> None:
    clock = SimulatedClock()
    whisper = FakeWhisper(clock, carries=0, slow_s=1.5)
    jobs, found = talk(whisper, 200, until_s=60.0)
    assert found.hopeless
    assert found.wall_s < 10
    assert whisper.cancelled == {job.key for job in jobs}


@pytest.mark.parametrize("planted", [1, 5, 23, 40])
def test_the_planted_capacity_of_a_backend_is_found_in_trials(planted: int) -> None:
    """Real scheduler, real lane, simulated clock: the rows tell what was tried."""
    clock, record = SimulatedClock(), Record(lambda content: None)
    whisper = FakeWhisper(clock, carries=planted)
    trials = Trials(AsrLane(whisper, lambda _: None, clock.now), PATTERN, 0.25, clock)
    run = trials.run

    def alone(speakers: int) -> dict[str, object]:
        whisper.forget_keys()  # those of the load before do not talk any more
        return run(speakers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trials, "run", lambda self, speakers: alone(speakers))
        assert search(trials, record, "fake", start=4, most=40) == planted
    for row in record.rows:
        assert row["carried"] == (row["speakers"] <= planted)
        assert row["unanswered"] == 0 or not row["carried"]
        assert row["gpu_busy"] is None
    carried = [row for row in record.rows if row["carried"]]
    assert all(row["p50_ms"] <= row["p95_ms"] <= row["max_ms"] for row in carried)
    assert all(1.2 < row["partials_per_speech_s"] < 1.7 for row in carried if row["finals"] > 20)


def test_speakers_pause_and_what_they_say_differs() -> None:
    busy = Arrivals(20, (4.0, 6.0), 0.6, pauses_s=(1.0, 3.0)).jobs(200.0)
    spoken_s = sum(job.seconds for job in busy if job.is_final)
    assert 0.65 < spoken_s / (20 * 200) < 0.78  # five of seven seconds
    jobs = PATTERN.arrivals(3, 1).jobs(20.0)
    finals = [job for job in jobs if job.is_final]
    assert len({job.pcm[:100].tobytes() for job in finals}) == len(finals)
    partials = [job for job in jobs if (job.key, job.turn_id) == (0, 1)]
    assert all((one.pcm == partials[-1].pcm[: len(one.pcm)]).all() for one in partials)
