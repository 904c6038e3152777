"""Models for lanes: one that hears loud audio as speech, one that says how much it heard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.asr.backend import AsrJob, Hypothesis
from engine.types import Pcm


class LoudIsSpeech:
    """A VAD that takes the first sample of a frame for its probability."""

    name = "loud"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.error: Exception | None = None

    def step(self, frames: Pcm, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        if self.error:
            raise self.error
        self.batches.append(len(slots))
        return frames[:, 0]

    def reset(self, slot: int) -> None: ...
    def warmup(self) -> None: ...
    def close(self) -> None: ...


class Listener:
    """A speech model that says how many seconds it heard, or fails as told.

    Like Whisper in torch it forgets cancelled jobs: they do not come back.
    """

    name = "listener"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.jobs: list[AsrJob] = []
        self.batches: list[int] = []
        self.promoted: list[int] = []

    @property
    def active(self) -> int:
        return len(self.jobs)

    def capacity(self, job: AsrJob) -> int:
        return 8 - len(self.jobs)

    def submit(self, jobs: Sequence[AsrJob]) -> None:
        self.jobs += jobs
        self.batches.append(len(jobs))

    def promote(self, job: AsrJob) -> None:
        self.promoted.append(job.number)
        self.jobs = [job if each.number == job.number else each for each in self.jobs]

    def cancel(self, key: int, turn_id: int | None = None) -> None:
        self.jobs = [j for j in self.jobs if j.key != key or turn_id not in (None, j.turn_id)]

    def step(self) -> list[Hypothesis]:
        if self.error:
            raise self.error
        jobs, self.jobs = self.jobs, []
        return [self.hear(job) for job in jobs]

    def hear(self, job: AsrJob) -> Hypothesis:
        return Hypothesis(job, (job.key,), f" {job.key}:{round(job.seconds)}", "en")

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(f" {t}" for t in tokens)

    def warmup(self) -> None: ...
    def close(self) -> None: ...
