"""The thread that owns every slot's audio and the VAD model.

Each round takes one 32 ms frame from every slot that has one and gives them to VAD in a single
call; what the slots make of the probabilities goes to the speech model's lane and to the sessions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine import metrics
from engine.asr.agreement import Decode
from engine.asr_lane import AsrLane, Heard
from engine.client import Deliver
from engine.config import EngineSettings
from engine.inbox import Inbox
from engine.slot import End, Slot
from engine.types import (
    AudioChunk,
    AudioConsumed,
    Cancel,
    CloseSlot,
    EndSegment,
    Event,
    OpenSlot,
    SpeechCommand,
)
from engine.vad.model import VadModel
from engine.work import Work

log = logging.getLogger(__name__)

# Rounds of frames between two looks at the inbox: a second of audio of every slot.
_ROUNDS = 32


@dataclass(frozen=True, slots=True)
class _Answers:
    heard: Sequence[Heard]


class SpeechLane:
    """Owns slots and VAD; talks to an ``AsrLane`` and, through ``deliver``, to the sessions."""

    def __init__(
        self,
        vad: VadModel,
        decode: Decode,
        settings: EngineSettings,
        deliver: Deliver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vad = vad
        self._decode = decode
        self._settings = settings
        self._deliver = deliver
        self._clock = clock
        # The bound on audio is each session's own (max_buffered_s), kept by the front end, which
        # stops reading a socket; so nothing is refused here.
        self._inbox: Inbox[SpeechCommand | _Answers] = Inbox(capacity=1 << 20)
        self._slots: dict[int, Slot] = {}
        self._active: dict[int, Slot] = {}  # those that may have something to hear
        self._free_rows = list(range(settings.max_sessions))
        self._events: list[Event] = []
        self._thread = threading.Thread(target=self._run, name="speech-lane", daemon=True)
        self._lane: AsrLane
        self.problem: str | None = None

    def start(self, asr: AsrLane) -> None:
        """Begin; ``asr`` is the lane that jobs go to, and that answers to ``answer``."""
        self._lane = asr
        self._thread.start()

    def post(self, command: SpeechCommand) -> None:
        self._inbox.put(command, force=True)

    def answer(self, heard: Sequence[Heard]) -> None:
        """Results of the speech model, from its lane's thread."""
        self._inbox.put(_Answers(heard), force=True)

    def close(self) -> None:
        self._inbox.close()
        if self._thread.is_alive():
            self._thread.join()
        self._vad.close()

    # ---- the lane's thread --------------------------------------------------------------

    def _run(self) -> None:
        try:
            working = False
            while not self._inbox.closed:
                working = self.turn(self._inbox.drain(0.0 if working else None))
        except Exception as error:  # a dead lane must be seen, whatever killed it
            log.exception("the speech lane stopped")
            self.problem = f"the speech lane stopped: {error}"

    def turn(self, commands: Sequence[SpeechCommand | _Answers]) -> bool:
        """Take commands, listen to at most a second of audio; True if there is more to hear."""
        for command in commands:
            self._apply(command)
        more = all(self._listen() for _ in range(_ROUNDS))
        if self._events:
            events, self._events = self._events, []
            self._deliver(events)
        return more

    def _apply(self, command: SpeechCommand | _Answers) -> None:
        match command:
            case _Answers(heard):
                self._take_answers(heard)
            case OpenSlot(key, options):
                row = self._free_rows.pop()
                self._vad.reset(row)
                self._slots[key] = Slot(key, row, options, self._settings, self._decode)
            case AudioChunk(key, pcm) if slot := self._slots.get(key):
                slot.put(pcm)
                self._active[key] = slot
            case EndSegment(key, at) if slot := self._slots.get(key):
                slot.put(End(at))
                self._active[key] = slot
            case Cancel(key, turn_id) if slot := self._slots.get(key):
                self._lane.cancel(key, turn_id)
                self._carry_out(slot.cancel(turn_id, self._clock()))
                self._active[key] = slot  # it may have been blocked
            case CloseSlot(key) if key in self._slots:
                self._free_rows.append(self._slots.pop(key).vad_row)
                self._active.pop(key, None)
                self._lane.cancel(key)

    def _take_answers(self, answers: Sequence[Heard]) -> None:
        for heard in answers:
            key = heard.hypothesis.job.key
            slot = self._slots.get(key)
            if slot is not None:
                self._carry_out(slot.answer(heard.hypothesis, heard.verdict, self._clock()))
                self._active[key] = slot  # it may have been blocked

    def _listen(self) -> bool:
        """One frame of every slot that has one, in one call; False if none has."""
        self._active = {key: slot for key, slot in self._active.items() if self._prepare(slot)}
        ready = list(self._active.values())
        if not ready:
            return False
        frames = np.stack([slot.frame() for slot in ready])
        rows = np.array([slot.vad_row for slot in ready], dtype=np.int64)
        with metrics.STAGE_SECONDS.labels("vad_step").time():
            probabilities = self._vad.step(frames, rows)
        metrics.BATCH_SIZE.labels("vad").observe(len(ready))
        now, idle = self._clock(), self._lane.idle
        for slot, probability in zip(ready, probabilities, strict=True):
            self._carry_out(slot.heard(float(probability), now, idle))
        return True

    def _prepare(self, slot: Slot) -> bool:
        """Bring the slot's next frame forward, ending segments on the way; False if it has none."""
        while True:
            moved, end = slot.take()
            if moved:
                self._events.append(AudioConsumed(slot.key, moved))
            if end is None:
                return slot.frame_ready
            self._carry_out(slot.end(end, self._clock()))

    def _carry_out(self, work: Work) -> None:
        self._events += work.events
        if work.submit is not None:
            self._lane.submit(work.submit)
        if work.promote is not None:
            self._lane.promote(work.promote)
