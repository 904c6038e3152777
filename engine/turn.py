"""A turn's speech on its way to text: windows of at most half a minute, decoded in order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.asr.agreement import Decode, LocalAgreement
from engine.asr.backend import AsrJob, Hypothesis
from engine.types import Pcm, Timeline, Transcript

# Windows close at a pause from this share of their length on, so that little is left to do at
# the end; without a pause they are cut at the quietest place of their last seconds.
PAUSE_CLOSES_FROM = 0.6
CUT_SEARCH_S = 8.0


@dataclass(slots=True)
class Turn:
    """What one segment has come to so far."""

    key: int
    turn_id: int
    text: str = ""  # of the windows decoded so far, with Whisper's leading space
    windows: int = 0
    speech_end: float | None = None  # when the client, or VAD, said that it was over
    started_at: float | None = None
    failure: str | None = None

    def transcript(self, text: str, stable: str, language: str | None) -> Transcript:
        """A partial: ``stable`` is the beginning of ``text`` (both raw) that will not change."""
        lead = len(text) - len(text.lstrip())
        stable_chars = max(0, len(stable) - lead)
        return Transcript(self.key, self.turn_id, text.strip(), stable_chars, False, language)

    def final(self, language: str | None, queued: float | None, now: float) -> Transcript:
        text = self.text.strip()
        timeline = Timeline(self.speech_end, queued, self.started_at, now)
        return Transcript(self.key, self.turn_id, text, len(text), True, language, timeline)


@dataclass(slots=True)
class Window:
    """Some of a turn's speech: the spans that VAD kept, in order."""

    turn: Turn
    index: int
    agreement: LocalAgreement
    spans: list[Pcm] = field(default_factory=list)
    samples: int = 0
    until_sample: int = 0  # where its speech ends on the session's clock
    is_last: bool = False
    asked: AsrJob | None = None  # the newest job sent for it
    pending: bool = False  # its result has not come back yet
    answered: Hypothesis | None = None  # the newest usable result for it

    @classmethod
    def open(cls, turn: Turn, decode: Decode) -> Window:
        turn.windows += 1
        return cls(turn, turn.windows - 1, LocalAgreement(decode))

    def add(self, pcm: Pcm, until_sample: int) -> None:
        self.spans.append(pcm)
        self.samples += len(pcm)
        self.until_sample = until_sample

    def pcm(self, growing: Pcm | None = None) -> Pcm:
        """All its speech, and the span that is still growing."""
        spans = self.spans if growing is None else [*self.spans, growing]
        return spans[0] if len(spans) == 1 else np.concatenate(spans)

    def owns(self, job: AsrJob) -> bool:
        return (job.turn_id, job.window) == (self.turn.turn_id, self.index)
