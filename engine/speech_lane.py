"""The thread that owns every slot's audio and the VAD model.

Each round takes one 32 ms frame from every slot that has one and gives them to VAD in a single
call; what the slots make of the probabilities goes to the speech model's lane and to the sessions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from engine import metrics
from engine.asr.agreement import Decode
from engine.asr_lane import AsrLane, Heard
from engine.client import Deliver
from engine.config import EngineSettings
from engine.errors import AsrFailed
from engine.frames import End
from engine.inbox import Inbox
from engine.slot import Slot
from engine.step_watch import StepWatch
from engine.turn_ledger import TurnLedger
from engine.types import (
    AudioChunk,
    AudioConsumed,
    Cancel,
    CloseSlot,
    EndSegment,
    Event,
    Failure,
    OpenSlot,
    SegmentEnded,
    SpeechCommand,
    Transcript,
)
from engine.vad.model import VadModel
from engine.work import CancelJobs, Work

log = logging.getLogger(__name__)

_T = TypeVar("_T")

# Rounds of frames between two looks at the inbox: a second of audio of every slot.
_ROUNDS = 32


@dataclass(frozen=True, slots=True)
class _Answers:
    heard: Sequence[Heard]


@dataclass(frozen=True, slots=True)
class _Stopped:
    """The speech model's lane has stopped: what was asked of it will not come back."""

    problem: str


_Command = SpeechCommand | _Answers | _Stopped


class SpeechLane:
    """Owns slots and VAD; talks to an ``AsrLane`` and, through ``deliver``, to the sessions.

    When the lane fails, or the speech model's lane does, it stops to listen but goes on to answer:
    every segment that has ended, and every later one at its end, with a ``Failure``. When one slot
    fails, the same holds for its session only.
    """

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
        self._inbox: Inbox[_Command] = Inbox(capacity=0)
        self._commands: deque[_Command] = deque()
        self._slots: dict[int, Slot] = {}
        self._active: dict[int, Slot] = {}  # those that may have something to hear
        self._free_rows = list(range(settings.max_sessions))
        self._ledger = TurnLedger()
        self._events: list[Event] = []
        self._consumed: defaultdict[int, int] = defaultdict(int)  # samples, by session
        self._broken: dict[int, str] = {}  # sessions whose slot failed, until they close, and why
        self._watch = StepWatch("the speech lane", settings.step_timeout_s, clock)
        self._thread = threading.Thread(target=self._run, name="speech-lane", daemon=True)
        self._lane: AsrLane
        self.dead: str | None = None

    @property
    def problem(self) -> str | None:
        """Why nobody is heard, now or any more."""
        return self.dead or self.stalled

    @property
    def stalled(self) -> str | None:
        """Why it seems to hang, which may pass."""
        return self._watch.problem

    @property
    def lag_s(self) -> float:
        """How long commands may have waited for the present step to end."""
        return self._watch.busy_s if len(self._inbox) else 0.0

    def start(self, asr: AsrLane) -> None:
        """Begin; ``asr`` is the lane that jobs go to, and that answers to ``answer``."""
        self._lane = asr
        self._thread.start()

    def post(self, command: SpeechCommand) -> None:
        self._inbox.put(command, force=True)

    def answer(self, heard: Sequence[Heard]) -> None:
        """Results of the speech model, from its lane's thread."""
        self._inbox.put(_Answers(heard), force=True)

    def stop(self, problem: str) -> None:
        """The speech model's lane has stopped (called from its thread)."""
        self._inbox.put(_Stopped(problem), force=True)

    def close(self) -> None:
        self._inbox.close()
        if self._thread.is_alive():
            self._thread.join()
        self._vad.close()

    # ---- the lane's thread --------------------------------------------------------------

    def _run(self) -> None:
        working = False
        while not self._inbox.closed:
            working = self.turn(self._inbox.drain(0.0 if working else None))

    def turn(self, commands: Sequence[_Command]) -> bool:
        """Take commands, listen to at most a second of audio; True if there is more to do."""
        self._commands.extend(commands)
        try:
            with self._watch.step():
                return self._step()
        except Exception as error:  # a dead lane must be seen, whatever killed it
            log.exception("the speech lane stopped")
            if self.dead is not None:
                raise  # it cannot even answer
            self._fail(f"the speech lane stopped: {error}")
            return True

    def _step(self) -> bool:
        while self._commands:
            self._obey(self._commands.popleft())
        more = all(self._listen() for _ in range(_ROUNDS))
        self._tell()
        return more

    def _tell(self) -> None:
        consumed, self._consumed = self._consumed, defaultdict(int)
        events: list[Event] = [AudioConsumed(key, count) for key, count in consumed.items()]
        events += self._events
        self._events = []
        if events:
            self._deliver(events)

    def _obey(self, command: _Command) -> None:
        """Keep the ledger, which must be right whatever a slot does, and pass the command on."""
        match command:
            case OpenSlot(key):
                self._ledger.open(key)
            case EndSegment(key):
                self._ledger.end(key)
            case Cancel(key, turn_id):
                self._ledger.settle(key, turn_id)
            case CloseSlot(key):
                self._ledger.close(key)
            case _Stopped(problem):
                self._fail(problem)
        if self.dead is None:
            self._apply(command)
        else:
            self._refuse(command)

    def _apply(self, command: _Command) -> None:
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
            case EndSegment(key) if slot := self._slots.get(key):
                slot.put(End())
                self._active[key] = slot
            case Cancel(key, turn_id) if slot := self._slots.get(key):
                self._active[key] = slot  # it may have been blocked
                self._ask(slot, partial(slot.cancel, turn_id, self._clock()))
            case CloseSlot(key) if slot := self._slots.get(key):
                self._drop(slot)
                self._carry_out(slot.close())
            case CloseSlot(key):
                self._broken.pop(key, None)
            case AudioChunk(key) | EndSegment(key) if key in self._broken:
                self._refuse(command)

    def _fail(self, problem: str) -> None:
        """Nobody is heard any more: answer every segment that has ended."""
        self.dead = self.dead or problem
        for key, slot in self._slots.items():  # or the front end would wait to read on
            self._consumed[key] += slot.audio.waiting_samples
        self._slots.clear()
        self._active.clear()
        self._answer_owed()

    def _refuse(self, command: _Command) -> None:
        if isinstance(command, AudioChunk):
            self._consumed[command.key] += len(command.pcm)
        self._answer_owed()

    def _answer_owed(self) -> None:
        """Fail every segment that has ended and that nobody is going to decode."""
        for key, turn_id in self._ledger.owed():
            if problem := self.dead or self._broken.get(key):
                self._ledger.settle(key, turn_id)
                self._events.append(Failure(key, turn_id, AsrFailed.code, problem))

    # ---- one slot -----------------------------------------------------------------------

    def _ask(self, slot: Slot, step: Callable[[], Work]) -> None:
        """Carry out what a step of ``slot`` comes to."""
        if (work := self._safely(slot, step)) is not None:
            self._carry_out(work)

    def _safely(self, slot: Slot, step: Callable[[], _T]) -> _T | None:
        """What a step of ``slot`` returns; None if it fails, which ends only its session's hearing.

        The slot's state cannot be trusted then: it is dropped with its work.
        """
        try:
            return step()
        except Exception as error:
            log.exception("session %s: its slot failed and is dropped", slot.key)
            self._broken[slot.key] = f"the session's speech cannot be heard any more: {error}"
        self._consumed[slot.key] += slot.audio.waiting_samples
        self._drop(slot)
        self._lane.post(CancelJobs(slot.key, None))
        if slot.options.endpointing == "server":  # or its client would never learn of it
            self._carry_out(Work([SegmentEnded(slot.key, self._ledger.ended(slot.key))]))
        self._answer_owed()
        return None

    def _drop(self, slot: Slot) -> None:
        del self._slots[slot.key]
        self._active.pop(slot.key, None)
        self._free_rows.append(slot.vad_row)

    def _take_answers(self, answers: Sequence[Heard]) -> None:
        for heard in answers:
            slot = self._slots.get(heard.hypothesis.job.key)
            if slot is not None:
                self._active[slot.key] = slot  # it may have been blocked
                now = self._clock()
                self._ask(slot, partial(slot.answer, heard.hypothesis, heard.verdict, now))

    def _listen(self) -> bool:
        """One frame of every slot that has one, in one call; False if none has."""
        prepared = [slot for slot in list(self._active.values()) if self._prepare(slot)]
        framed = [(slot, self._safely(slot, slot.frame)) for slot in prepared]
        ready = [(slot, frame) for slot, frame in framed if frame is not None]
        self._active = {slot.key: slot for slot, _ in ready}
        if not ready:
            return False
        frames = np.stack([frame for _, frame in ready])
        rows = np.array([slot.vad_row for slot, _ in ready], dtype=np.int64)
        with metrics.STAGE_SECONDS.labels("vad_step").time():
            probabilities = self._vad.step(frames, rows)
        metrics.BATCH_SIZE.labels("vad").observe(len(ready))
        now, idle = self._clock(), self._lane.idle
        for (slot, _), probability in zip(ready, probabilities, strict=True):
            self._ask(slot, partial(slot.heard, float(probability), now, idle))
        return True

    def _prepare(self, slot: Slot) -> bool:
        """Bring the slot's next frame forward, ending segments on the way; False if it has none."""
        while (taken := self._safely(slot, slot.take)) is not None:
            moved, end = taken
            if moved:
                self._consumed[slot.key] += moved
            if end is None:
                return slot.frame_ready
            self._ask(slot, partial(slot.end, self._clock()))
            if slot.key not in self._slots:
                break
        return False  # it failed

    def _carry_out(self, work: Work) -> None:
        for event in work.events:
            match event:
                case SegmentEnded(key):
                    self._ledger.end(key)
                case Failure(key, turn_id) | Transcript(key, turn_id, is_final=True):
                    self._ledger.settle(key, turn_id)
        self._events += work.events
        for order in work.orders:
            self._lane.post(order)
