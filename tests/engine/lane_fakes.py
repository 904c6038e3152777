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

    def step(self, frames: Pcm, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        self.batches.append(len(slots))
        return frames[:, 0]

    def reset(self, slot: int) -> None: ...
    def warmup(self) -> None: ...
    def close(self) -> None: ...


class Listener:
    """A speech model that says how many seconds it heard, or fails as told."""

    name = "listener"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.jobs: list[AsrJob] = []
        self.batches: list[int] = []

    def capacity(self, job: AsrJob) -> int:
        return 8

    def submit(self, jobs: Sequence[AsrJob]) -> None:
        self.jobs = list(jobs)
        self.batches.append(len(jobs))

    def cancel(self, key: int, turn_id: int) -> None: ...

    def step(self) -> list[Hypothesis]:
        if self.error:
            raise self.error
        return [Hypothesis(j, (j.key,), f" {j.key}:{round(j.seconds)}", "en") for j in self.jobs]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(f" {t}" for t in tokens)

    def warmup(self) -> None: ...
    def close(self) -> None: ...
