"""An engine without models, which does what a test tells it to."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from engine.client import Deliver
from engine.errors import ModelError, Overloaded
from engine.types import (
    AudioConsumed,
    Event,
    GenerateRequest,
    Pcm,
    ResponseDelta,
    SegmentEnded,
    SessionOptions,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from server.config import Settings


class FakeEngine:
    """Hears ``N samples`` where the audio is not silent, and repeats it word by word.

    ``holds`` names what it keeps back: ``audio`` (not consumed), ``asr`` (no transcripts),
    ``llm`` (no replies); a test then sends events itself with ``emit``.
    """

    asr_name = "fake-asr"
    llm_name = "fake-llm"
    partial = ("so far", 3)

    def __init__(
        self,
        settings: Settings,
        deliver: Deliver,
        *,
        holds: Sequence[str] = (),
        capacity: int = 100,
        queue: int = 100,
        start_error: str | None = None,
        gate: threading.Event | None = None,
        start_seconds: float = 0,
        dies: str | None = None,
    ) -> None:
        self._deliver = deliver
        self._holds = set(holds)
        self._capacity = capacity
        self._queue = queue
        self._start_error = start_error
        self._gate = gate
        self._start_seconds = start_seconds
        self._segments: dict[int, list[Pcm]] = {}
        self._turns: dict[int, int] = {}
        self.options: dict[int, SessionOptions] = {}
        self.requests: list[GenerateRequest] = []
        self.anticipated: list[GenerateRequest] = []
        self.withdrawn: list[tuple[int, int]] = []
        self.cancelled: list[tuple[int, int]] = []
        self.fed: dict[int, int] = {}
        self.ready = False
        self.problem: str | None = None
        self.degraded: str | None = None
        self.dead: str | None = None
        self._dies = dies
        self.closed = False
        self.lags = False  # then no session is admitted

    def words(self, pcm: Pcm) -> str:
        return f"{pcm.size} samples"

    def pieces(self, request: GenerateRequest) -> list[str]:
        return ["You said ", request.messages[-1].content, "."]

    def start(self) -> None:
        if self._gate is not None:
            assert self._gate.wait(10)
        time.sleep(self._start_seconds)  # models take their time, and cannot be interrupted
        if self._start_error is not None:
            raise ModelError(self._start_error)
        self.ready = True
        if self._dies is not None:
            self.die(self._dies)

    def die(self, problem: str) -> None:
        self.ready, self.problem, self.dead = False, problem, problem

    def close(self) -> None:
        self.closed = True

    def open(self, options: SessionOptions) -> int:
        if len(self._segments) >= self._capacity or self.lags:
            raise Overloaded("Every place is taken.", retry_after_ms=1500)
        return self._begin(options)

    def reopen(self, key: int, options: SessionOptions) -> int:
        assert key in self._segments, "only an open slot can be passed on"
        self.close_session(key)
        return self._begin(options)

    def _begin(self, options: SessionOptions) -> int:
        key = len(self.options)
        self.options[key] = options
        self._segments[key], self._turns[key], self.fed[key] = [], 0, 0
        return key

    def close_session(self, key: int) -> None:
        self._segments.pop(key, None)

    @property
    def open_keys(self) -> list[int]:
        return list(self._segments)

    def emit(self, *events: Event) -> None:
        self._deliver(events)

    def feed(self, key: int, pcm: Pcm) -> None:
        assert pcm.dtype == np.float32
        if self.options[key].partials:
            self.emit(Transcript(key, self._turns[key], *self.partial, is_final=False))
        if not self._segments[key]:
            self.emit(SpeechStarted(key, self._turns[key], 0.5))
        self._segments[key].append(pcm)
        self.fed[key] += pcm.size
        if "audio" not in self._holds:
            self.emit(AudioConsumed(key, pcm.size))

    def end_segment(self, key: int) -> None:
        heard, self._segments[key] = self._segments[key], []
        turn_id, self._turns[key] = self._turns[key], self._turns[key] + 1
        if "asr" in self._holds:
            return
        pcm = np.concatenate(heard) if heard else np.zeros(0, np.float32)
        text = self.words(pcm) if pcm.any() else ""
        if text:
            self.emit(SpeechStopped(key, turn_id, 1.25))
        self.emit(Transcript(key, turn_id, text, len(text), is_final=True, language="en"))

    def end_by_vad(self, key: int) -> None:
        """End the segment as server endpointing would."""
        self.emit(SegmentEnded(key, self._turns[key]))
        self.end_segment(key)

    def generate(self, request: GenerateRequest) -> None:
        if len(self.requests) >= self._queue:
            raise Overloaded("Too many replies are waiting.")
        self.requests.append(request)
        if "llm" not in self._holds:
            self.reply(request)

    def reply(self, request: GenerateRequest) -> None:
        key, turn_id = request.key, request.turn_id
        *pieces, last = self.pieces(request)
        for piece in pieces:
            self.emit(ResponseDelta(key, turn_id, piece))
        self.emit(ResponseDelta(key, turn_id, last, finish_reason="stop"))

    def anticipate(self, request: GenerateRequest, after: str = "pause") -> None:
        self.anticipated.append(request)

    def withdraw(self, key: int, turn_id: int) -> None:
        self.withdrawn.append((key, turn_id))

    def cancel(self, key: int, turn_id: int) -> None:
        self.cancelled.append((key, turn_id))
