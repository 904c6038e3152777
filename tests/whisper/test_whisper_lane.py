"""The speech model's lane over a backend whose jobs take several steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.guards import RETRY_TEMPERATURES, Verdict
from engine.asr_lane import AsrLane
from engine.work import CancelJobs, Submit

SPEECH = np.zeros(16_000, dtype=np.float32)


class Patient:
    """An ``AsrBackend`` that takes one job more each step and three steps for each."""

    name = "patient"

    def __init__(self, doubts: int = 0) -> None:
        self.age: dict[int, int] = {}
        self.jobs: dict[int, AsrJob] = {}
        self.broken = False
        self.doubts = doubts  # the session that it is never sure of

    @property
    def active(self) -> int:
        return len(self.jobs)

    def capacity(self, job: AsrJob) -> int:
        return 1

    def submit(self, jobs: Sequence[AsrJob]) -> None:
        self.jobs |= {job.key: job for job in jobs}
        self.age |= {job.key: 0 for job in jobs}

    def promote(self, job: AsrJob) -> None:
        """Every job is as urgent as any."""

    def cancel(self, key: int, turn_id: int | None = None) -> None:
        self.jobs.pop(key, None)

    def step(self) -> list[Hypothesis]:
        if self.broken:
            raise RuntimeError("no more")
        self.age = {key: age + 1 for key, age in self.age.items()}
        done = [job for key, job in self.jobs.items() if self.age[key] == 3]
        for job in done:
            del self.jobs[job.key]
        return [
            Hypothesis(job, (1,), "yes", avg_logprob=-2.0 if job.key == self.doubts else -0.1)
            for job in done
        ]

    def decode(self, tokens: Sequence[int]) -> str:
        return "yes"

    def warmup(self) -> None:
        """Nothing to warm."""

    def close(self) -> None:
        """Nothing to close."""


def lane_of(backend: Patient, clock: Callable[[], float] = lambda: 0.0) -> AsrLane:
    return AsrLane(backend, lambda heard: None, clock)


def submit(*keys: int) -> list[Submit]:
    return [Submit(AsrJob(key, 0, 0, SPEECH, is_final=True)) for key in keys]


def test_jobs_join_at_every_step_and_leave_when_they_are_done() -> None:
    lane = lane_of(Patient())
    heard = [lane.turn(submit(1, 2))] + [lane.turn([]) for _ in range(4)]
    assert [[h.hypothesis.job.key for h in step] for step in heard] == [[], [], [1], [2], []]
    assert lane.idle


def test_the_lane_is_busy_while_the_model_is() -> None:
    lane = lane_of(Patient())
    lane.turn(submit(1))
    assert not lane.idle


def test_a_cancelled_job_is_taken_back_from_the_model() -> None:
    backend = Patient()
    lane = lane_of(backend)
    lane.turn(submit(1))
    assert lane.turn([CancelJobs(1, None)]) == []
    assert backend.active == 0
    assert lane.idle


def test_when_the_model_breaks_every_job_it_had_comes_back() -> None:
    backend = Patient()
    lane = lane_of(backend)
    lane.turn(submit(1, 2))
    backend.broken = True
    heard = lane.turn([])
    assert sorted(h.hypothesis.job.key for h in heard) == [1, 2]
    assert all(h.hypothesis.error is not None for h in heard)
    assert lane.problem is not None
    assert lane.idle
    assert [h.hypothesis.job.key for h in lane.turn(submit(3))] == [3]


def test_one_that_fails_its_guards_goes_round_again_and_holds_up_nobody() -> None:
    """Each try joins behind those that wait; the others come back as if it were not there."""
    backend = Patient(doubts=1)
    lane = lane_of(backend)
    turns = [lane.turn(submit(1, 2, 3))] + [lane.turn([]) for _ in range(20)]
    came = {h.hypothesis.job.key: (turn, h) for turn, heard in enumerate(turns) for h in heard}
    assert [came[key][0] for key in (2, 3)] == [3, 4]  # as without the first
    turn, last = came[1]
    assert turn > 4
    assert last.verdict is Verdict.RETRY
    job = last.hypothesis.job
    assert (job.attempt, job.temperature, job.full_context) == (3, RETRY_TEMPERATURES[-1], True)
    assert lane.idle


def test_the_lag_is_the_age_of_the_oldest_final_without_a_result() -> None:
    """In the inbox, in the queue and in the model."""
    now = 0.0
    lane = lane_of(Patient(), lambda: now)
    assert lane.lag_s == 0
    (first,) = submit(1)
    lane.post(first)  # queued at 0; no turn of the lane has seen it
    now = 2.5
    assert lane.lag_s == 2.5
    lane.turn([first, *submit(2)])  # the second has to wait
    assert lane.finals_wait
    lane.turn([])
    assert not lane.finals_wait
    assert lane.lag_s == 2.5
    assert [len(lane.turn([])) for _ in range(2)] == [1, 1]
    assert lane.lag_s == 0


def test_a_cancelled_final_is_no_lag() -> None:
    lane = lane_of(Patient(), lambda: 9.0)
    for order in submit(1, 2):
        lane.post(order)
    lane.post(CancelJobs(1, 0))
    assert lane.lag_s == 9
    lane.post(CancelJobs(2, None))
    assert lane.lag_s == 0
