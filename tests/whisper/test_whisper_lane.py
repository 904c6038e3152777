"""The speech model's lane over a backend whose jobs take several steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr_lane import AsrLane, CancelJobs, Submit

SPEECH = np.zeros(16_000, dtype=np.float32)


class Patient:
    """An ``AsrBackend`` that takes one job more each step and three steps for each."""

    name = "patient"

    def __init__(self) -> None:
        self.age: dict[int, int] = {}
        self.jobs: dict[int, AsrJob] = {}
        self.broken = False

    @property
    def active(self) -> int:
        return len(self.jobs)

    def capacity(self, job: AsrJob) -> int:
        return 1

    def submit(self, jobs: Sequence[AsrJob]) -> None:
        self.jobs |= {job.key: job for job in jobs}
        self.age |= {job.key: 0 for job in jobs}

    def cancel(self, key: int, turn_id: int | None = None) -> None:
        self.jobs.pop(key, None)

    def step(self) -> list[Hypothesis]:
        if self.broken:
            raise RuntimeError("no more")
        self.age = {key: age + 1 for key, age in self.age.items()}
        done = [job for key, job in self.jobs.items() if self.age[key] == 3]
        for job in done:
            del self.jobs[job.key]
        return [Hypothesis(job, tokens=(1,), text="yes") for job in done]

    def decode(self, tokens: Sequence[int]) -> str:
        return "yes"

    def warmup(self) -> None:
        """Nothing to warm."""

    def close(self) -> None:
        """Nothing to close."""


def lane_of(backend: Patient) -> AsrLane:
    return AsrLane(backend, lambda heard: None, clock=lambda: 0.0)


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
