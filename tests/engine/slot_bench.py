"""A slot without a lane: fed speech and silence, its jobs answered by the test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.guards import Verdict
from engine.config import EngineSettings
from engine.frames import End
from engine.slot import Slot
from engine.types import (
    SAMPLE_RATE,
    Event,
    SessionOptions,
    Transcript,
)
from engine.vad.endpointer import FRAME_SAMPLES
from engine.work import CancelJobs, Promote, Submit, Work

FRAMES_PER_S = SAMPLE_RATE / FRAME_SAMPLES
WORDS = [" zero", " one", " two", " three", " four", " five", " six", " seven", " eight", " nine"]


def decode(tokens: Sequence[int]) -> str:
    return "".join(WORDS[t % 10] for t in tokens)


class Bench:
    """A slot, fed speech and silence; jobs wait here until the test answers them."""

    def __init__(
        self,
        partials: bool = False,
        endpointing: str = "client",
        words: bool = False,
        options: SessionOptions | None = None,
        **limits: float,
    ):
        options = options or SessionOptions(partials=partials, endpointing=endpointing, words=words)  # type: ignore[arg-type]
        self.slot = Slot(7, 0, options, EngineSettings(**limits), decode)  # type: ignore[arg-type]
        self.events: list[Event] = []
        self.jobs: list[AsrJob] = []
        self.promoted: list[AsrJob] = []
        self.last: AsrJob | None = None  # for tests that answer as they go
        self.idle = True
        self.now = 0.0

    def _do(self, work: Work) -> None:
        self.events += work.events
        for order in work.orders:
            match order:
                case Submit(job):
                    if self.jobs and not self.jobs[-1].is_final:
                        self.jobs.pop()  # as the scheduler does: the newer job replaces the partial
                    self.jobs.append(job)
                case Promote(job):
                    self.promoted.append(job)
                    self.jobs = [job if j.number == job.number else j for j in self.jobs]
                case CancelJobs(_, turn_id):
                    self.jobs = [j for j in self.jobs if turn_id not in (None, j.turn_id)]

    def hear(self, seconds: float, probability: float) -> None:
        for _ in range(round(seconds * FRAMES_PER_S)):
            self.slot.put(np.full(FRAME_SAMPLES, probability, np.float32))
            self._pump(probability)

    def _pump(self, probability: float = 0.0) -> None:
        while True:
            _, end = self.slot.take()
            if end is not None:
                self._do(self.slot.end(self.now))
            elif self.slot.frame_ready:
                self.slot.frame()
                self.now += 0.032
                self._do(self.slot.heard(probability, self.now, self.idle))
            else:
                return

    def say(self, seconds: float) -> None:
        self.hear(seconds, 0.9)

    def pause(self, seconds: float) -> None:
        self.hear(seconds, 0.02)

    def end(self) -> None:
        self.slot.put(End())
        self._pump()

    def answer(
        self,
        *tokens: int,
        verdict: Verdict = Verdict.KEEP,
        error: Exception | None = None,
        end: str = "",
        avg_logprob: float = -0.1,
        language: str = "en",
        language_probability: float | None = None,
        times: tuple[float, ...] = (),
    ) -> AsrJob:
        """``end``: punctuation after the words."""
        job = self.jobs.pop(0)
        said = (*job.prefix, *tokens)
        sure = (-0.1,) * len(tokens)
        text = decode(said) + end
        self._do(
            self.slot.answer(
                Hypothesis(
                    job,
                    said,
                    text,
                    job.language or language,
                    avg_logprob,
                    token_logprobs=sure,
                    token_times=times,
                    language_probability=None if job.language else language_probability,
                    error=error,
                ),
                verdict,
                self.now,
            )
        )
        return job

    def finals(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, Transcript) and e.is_final]

    def partials(self) -> list[Transcript]:
        return [e for e in self.events if isinstance(e, Transcript) and not e.is_final]
