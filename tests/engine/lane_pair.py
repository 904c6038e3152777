"""Both speech lanes, stepped by hand: real slots and scheduler, the test's clock, no threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from lane_fakes import LoudIsSpeech

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr_lane import AsrLane
from engine.config import EngineSettings
from engine.errors import AsrFailed
from engine.speech_lane import SpeechLane
from engine.types import (
    SAMPLE_RATE,
    AudioChunk,
    Cancel,
    EndSegment,
    Event,
    Failure,
    OpenSlot,
    Pcm,
    SessionOptions,
    Transcript,
)

OUTCOMES = ("heard", "nothing", "poor", "silence", "error", "stops early")


def loud(seconds: float) -> Pcm:
    return np.full(round(seconds * SAMPLE_RATE), 0.9, np.float32)


def quiet(seconds: float) -> Pcm:
    return np.full(round(seconds * SAMPLE_RATE), 0.02, np.float32)


@dataclass
class SteppedModel:
    """Jobs come back when the test lets them. Where ``drops``, cancelled ones never do, as with
    torch; else they do, and nothing is known of a promotion, as with CTranslate2."""

    drops: bool
    name: str = "stepped"
    at_once: bool = False  # every job comes back in the next step
    broken: Exception | None = None
    jobs: list[AsrJob] = field(default_factory=list)
    due: list[tuple[AsrJob, str]] = field(default_factory=list)
    promoted: list[AsrJob] = field(default_factory=list)

    @property
    def active(self) -> int:
        return len(self.jobs) + len(self.due)

    def capacity(self, job: AsrJob) -> int:
        if not job.is_final and self.jobs:
            return 0
        return max(0, 3 - len(self.jobs))

    def submit(self, jobs: Sequence[AsrJob]) -> None:
        self.jobs += jobs

    def promote(self, job: AsrJob) -> None:
        self.promoted.append(job)
        if self.drops:
            self.jobs = [job if each.number == job.number else each for each in self.jobs]

    def cancel(self, key: int, turn_id: int | None = None) -> None:
        if self.drops:
            self.jobs = [j for j in self.jobs if j.key != key or turn_id not in (None, j.turn_id)]

    def let_go(self, index: int = 0, outcome: str = "heard") -> None:
        """The next step returns that job."""
        if self.jobs:
            self.due.append((self.jobs.pop(index % len(self.jobs)), outcome))

    def step(self) -> list[Hypothesis]:
        if self.broken is not None:
            raise self.broken
        if self.at_once:
            while self.jobs:
                self.let_go()
        due, self.due = self.due, []
        return [hypothesis(job, outcome) for job, outcome in due]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(f" {token}" for token in tokens)

    def warmup(self) -> None: ...
    def close(self) -> None: ...


def hypothesis(job: AsrJob, outcome: str) -> Hypothesis:
    if outcome == "error":
        return Hypothesis(job, error=AsrFailed("planted"))
    said = () if outcome == "nothing" else (*job.prefix, job.key, job.turn_id)
    early = outcome == "stops early" and job.align
    return Hypothesis(
        job,
        said,
        "".join(f" {token}" for token in said),
        "en",
        avg_logprob=-2.0 if outcome in ("poor", "silence") else -0.1,
        no_speech_prob=0.9 if outcome == "silence" else 0.0,
        token_times=(0.5, *[1.5] * len(said)) if early else (),
    )


class Pair:
    """The lanes, and what they told the sessions."""

    def __init__(self, model: SteppedModel, **limits: float) -> None:
        self.model, self.vad = model, LoudIsSpeech()
        self.now = 0.0
        self.events: list[Event] = []
        settings = EngineSettings(**limits)  # type: ignore[arg-type]
        self.speech = SpeechLane(
            self.vad, model.decode, settings, self.events.extend, lambda: self.now
        )
        self.asr = AsrLane(model, self.speech.answer, lambda: self.now, on_death=self.speech.stop)
        self.speech._lane = self.asr  # as `start` does, without the thread

    def speech_step(self) -> bool:
        return self.speech.turn(self.speech._inbox.drain(0))

    def asr_step(self) -> None:
        if heard := self.asr.turn(self.asr._inbox.drain(0)):
            self.speech.answer(heard)

    def run(self, steps: int = 40) -> None:
        for _ in range(steps):
            self.speech_step()
            self.asr_step()

    # ---- one session -----------------------------------------------------------------------

    def open(self, key: int, options: SessionOptions | None = None) -> None:
        self.speech.post(OpenSlot(key, options or SessionOptions()))

    def say(self, key: int, *pieces: Pcm) -> None:
        self.speech.post(AudioChunk(key, np.concatenate(pieces)))

    def end(self, key: int) -> None:
        self.speech.post(EndSegment(key))

    def cancel(self, key: int, turn_id: int) -> None:
        self.speech.post(Cancel(key, turn_id))

    def answers(self, key: int) -> list[int]:
        """Turns that were answered, in order."""
        return [
            event.turn_id
            for event in self.events
            if event.key == key
            and (isinstance(event, Failure) or (isinstance(event, Transcript) and event.is_final))
        ]
