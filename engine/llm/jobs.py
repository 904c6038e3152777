"""Which request for a reply runs when, and how each comes to exactly one ending.

Early jobs are requests that nobody has made yet. Where there is nothing else to do they run, and
their events are held: if the very same request comes, they become its job, and what they hold is
told; if another comes, or none, they are dropped and nobody has seen them. Where there is something
else to do, but room, only their prompt is computed, into the model's cache (``early.py``).

No thread and no lock: the lane calls ``turn`` with what its inbox holds.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from engine.errors import DeadlineExceeded, LlmFailed
from engine.llm.backend import LlmBackend
from engine.llm.early import Early, Level, Withdraw, level
from engine.metrics import BATCH_SIZE, EARLY_PIECES, EARLY_REPLIES, QUEUE_DEPTH, STAGE_SECONDS
from engine.types import (
    AssumedAfter,
    Cancel,
    CloseSlot,
    Failure,
    GenerateRequest,
    LlmEvent,
    ResponseDelta,
)

log = logging.getLogger(__name__)

JobId = tuple[int, int]


@dataclass(slots=True, eq=False)
class Job:
    """A request and how far it is. ``answered``: its ending has been told, or never will be.

    ``reached`` and what follows it: of an early job.
    """

    request: GenerateRequest
    submitted_at: float
    spoke: bool = False
    answered: bool = False
    stopped_at: float | None = None  # the backend was told to let go of it
    early: bool = False
    reached: Level = Level.NOTHING
    after: AssumedAfter = "pause"
    idle: bool = True
    held: list[LlmEvent] = field(default_factory=list)

    @property
    def id(self) -> JobId:
        return self.request.key, self.request.turn_id


Command = Job | Early | Withdraw | Cancel | CloseSlot


class LlmJobs:
    """First come, first served; a session's next request starts when its last has ended."""

    def __init__(self, backend: LlmBackend, timeout_s: float, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._timeout_s = timeout_s
        self._clock = clock
        self._commands: deque[Command] = deque()
        self._waiting: dict[JobId, Job] = {}
        self._running: dict[JobId, Job] = {}
        self._early: dict[int, Job] = {}  # by session: its last one, unless dropped or asked for
        self._events: list[LlmEvent] = []
        self._ended: list[JobId] = []

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._running)

    def turn(self, commands: Sequence[Command]) -> list[LlmEvent]:
        """Obey, advance, and say what happened. What the backend raises in ``step`` passes."""
        self._commands.extend(commands)
        while self._commands:
            self._obey(self._commands.popleft())
        self._expire()
        if self._running:
            self._collect(self._backend.step())
        self._start()
        QUEUE_DEPTH.labels("llm").set(len(self._waiting))
        events, self._events = self._events, []
        return events

    def take_ended(self) -> list[JobId]:
        """Jobs that are over since the last call, their slots free: their ids may come again."""
        ended, self._ended = self._ended, []
        return ended

    def names(self) -> str:
        """What runs, for the log."""
        running = (f"session {key} turn {turn_id}" for key, turn_id in self._running)
        return ", ".join(running) or "nothing"

    @property
    def letting_go_since(self) -> float | None:
        """When the backend was told to stop a reply that it has not let go of yet."""
        stopped = (job.stopped_at for job in self._running.values())
        return min((at for at in stopped if at is not None), default=None)

    def wait_s(self) -> float | None:
        """How long nothing need be done unless something comes in; None: for ever."""
        if self._running and self._backend.busy:
            return 0.0
        due = self._next_due()
        return None if due is None else max(0.0, due - self._clock())

    def cancel_all(self) -> None:
        for job_id in [*self._waiting, *self._running]:
            self._cancel(job_id)

    def fail_all(self, message: str) -> list[LlmEvent]:
        """Every job ends here and now; for when the backend is not to be asked any more."""
        unseen = [command for command in self._commands if isinstance(command, Job)]
        for job in [*self._running.values(), *self._waiting.values(), *unseen]:
            if not job.early:
                self._answer(job, Failure(*job.id, LlmFailed.code, message))
        self._commands.clear()
        self._waiting.clear()
        self._running.clear()
        self._early.clear()
        events, self._events = self._events, []
        return events

    # ---- commands --------------------------------------------------------------------------

    def _obey(self, command: Command) -> None:
        match command:
            case Job():
                if not self._take_over(command):
                    self._waiting[command.id] = command
            case Early():
                self._expect(command)
            case Withdraw(key, turn_id):
                self._drop_early(key, turn_id)
            case Cancel(key, turn_id):
                self._drop_early(key, turn_id)
                self._cancel((key, turn_id))
            case CloseSlot(key):
                self._drop_early(key)
                self._forget(key)

    def _cancel(self, job_id: JobId) -> None:
        if job_id in self._waiting:
            job = self._waiting.pop(job_id)
            self._answer(job, ResponseDelta(*job_id, "", "cancelled"))
            self._ended.append(job_id)
        elif job_id in self._running:
            self._stop(self._running[job_id])

    def _stop(self, job: Job) -> None:
        """It holds its slot until the backend lets go of it."""
        if job.stopped_at is None:
            job.stopped_at = self._clock()
        self._backend.cancel(*job.id)

    def _forget(self, key: int) -> None:
        """Nobody listens any more: what waits is dropped in silence."""
        for job_id in [job_id for job_id in self._waiting if job_id[0] == key]:
            del self._waiting[job_id]
            self._ended.append(job_id)
        for job in [job for job in self._running.values() if job.id[0] == key]:
            self._stop(job)
        self._backend.forget(key)

    # ---- early jobs ------------------------------------------------------------------------

    def _expect(self, command: Early) -> None:
        key = command.request.key
        job = self._early.get(key)
        if job is not None and job.request == command.request:
            job.idle |= command.idle
            if job.reached is not Level.BEGIN:
                job.after = command.after
            return
        self._drop_early(key)
        self._early[key] = Job(
            command.request, self._clock(), early=True, after=command.after, idle=command.idle
        )

    def _take_over(self, job: Job) -> bool:
        """Let the session's early job be ``job``, if it is for the same request."""
        early = self._early.get(job.request.key)
        same = early is not None and early.request == job.request
        if early is None or not same or early.reached is not Level.BEGIN or _failed(early):
            self._drop_early(job.request.key, asked=same)
            return False
        del self._early[job.request.key]
        self._note(early, "hit")
        early.early, early.submitted_at = False, job.submitted_at
        held, early.held = early.held, []
        for event in held:
            self._tell(early, event)
        return True

    def _drop_early(self, key: int, turn_id: int | None = None, asked: bool = False) -> None:
        """``asked``: its request has come, but it holds nothing that could be told."""
        job = self._early.get(key)
        if job is None or turn_id not in (None, job.request.turn_id):
            return
        del self._early[key]
        prefilled = "prefilled" if asked else "prefilled_miss"
        outcomes = {Level.NOTHING: "busy", Level.PREFILL: prefilled, Level.BEGIN: "miss"}
        self._note(job, outcomes[job.reached])
        job.answered = True
        if self._running.get(job.id) is job:
            self._stop(job)

    def _note(self, job: Job, outcome: str) -> None:
        EARLY_REPLIES.labels(outcome, job.after).inc()
        EARLY_PIECES.labels(outcome, job.after).inc(len(job.held))

    # ---- time ------------------------------------------------------------------------------

    def _next_due(self) -> float | None:
        jobs = [job for job in self._running.values() if not job.answered]
        jobs += islice(self._waiting.values(), 1)  # the eldest: all have the same time
        return min((job.submitted_at + self._timeout_s for job in jobs), default=None)

    def _overdue(self) -> Iterator[Job]:
        latest = self._clock() - self._timeout_s
        for job in list(self._running.values()):
            if not job.answered and job.submitted_at <= latest:
                yield job
        while self._waiting and (job := next(iter(self._waiting.values()))).submitted_at <= latest:
            yield self._waiting.pop(job.id)

    def _expire(self) -> None:
        message = f"the reply took longer than {self._timeout_s:g} s"
        for job in self._overdue():
            if job.early:
                self._drop_early(job.request.key)
                continue
            self._answer(job, Failure(*job.id, DeadlineExceeded.code, message))
            if job.id in self._running:
                self._stop(job)
            else:
                self._ended.append(job.id)

    # ---- work ------------------------------------------------------------------------------

    def _start(self) -> None:
        free = self._backend.free
        sessions = {key for key, _ in self._running}
        for job in list(self._waiting.values()):
            if free and job.request.key not in sessions:
                sessions.add(job.request.key)
                del self._waiting[job.id]
                free -= self._begin(job)
        if any(job.request.key not in sessions for job in self._waiting.values()):
            self._make_room()
        else:
            self._start_early(sessions)

    def _make_room(self) -> None:
        """Requests wait for a slot: the youngest early job gives up its own."""
        for job in reversed(self._early.values()):
            if job.id in self._running:
                self._drop_early(job.request.key)
                return

    def _start_early(self, sessions: set[int]) -> None:
        for job in list(self._early.values()):
            running = len(self._running)
            slots = self._backend.free + running
            allowed = level(slots, running, waiting=False, idle=job.idle, after=job.after)
            if allowed > job.reached and job.request.key not in sessions:
                job.reached = allowed
                self._begin(job)

    def _begin(self, job: Job) -> bool:
        request = job.request
        if job.early and job.reached is Level.PREFILL:
            request = replace(request, max_tokens=1)  # no backend takes 0
        try:
            self._backend.submit(request)
        except Exception as error:  # whatever it is, it is this job's alone
            log.exception("session %d turn %d: the language model refused a request", *job.id)
            self._tell(job, Failure(*job.id, LlmFailed.code, f"the reply failed: {error}"))
            return False
        self._running[job.id] = job
        return True

    def _collect(self, events: Sequence[LlmEvent]) -> None:
        if events:
            BATCH_SIZE.labels("llm").observe(len(self._running))
        for event in events:
            job = self._running.get((event.key, event.turn_id))
            if job is None:
                continue  # ended before: whatever a backend does, a turn ends once
            if _is_ending(event):
                del self._running[job.id]
            self._tell(job, event)

    def _tell(self, job: Job, event: LlmEvent) -> None:
        """Pass an event on, or hold it while nobody has asked for the job."""
        if job.early:
            if not job.answered and job.reached is Level.BEGIN:
                job.held.append(event)
        elif isinstance(event, ResponseDelta) and event.finish_reason is None:
            self._speak(job, event)
        else:
            self._answer(job, event)
            self._ended.append(job.id)

    def _speak(self, job: Job, event: ResponseDelta) -> None:
        if job.answered:
            return
        if not job.spoke:
            job.spoke = True
            self._observe("llm_first_token", job)
        self._events.append(event)

    def _answer(self, job: Job, event: LlmEvent) -> None:
        if not job.answered:
            job.answered = True
            if isinstance(event, ResponseDelta) and event.finish_reason != "cancelled":
                self._observe("llm_total", job)
            self._events.append(event)

    def _observe(self, stage: str, job: Job) -> None:
        STAGE_SECONDS.labels(stage).observe(self._clock() - job.submitted_at)


def _is_ending(event: LlmEvent) -> bool:
    return isinstance(event, Failure) or event.finish_reason is not None


def _failed(job: Job) -> bool:
    return bool(job.held) and isinstance(job.held[-1], Failure)
