"""Which request for a reply runs when, and how each comes to exactly one ending.

No thread and no lock: the lane calls ``turn`` with what its inbox holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from engine.errors import DeadlineExceeded, LlmFailed
from engine.llm.backend import LlmBackend
from engine.metrics import BATCH_SIZE, QUEUE_DEPTH, STAGE_SECONDS
from engine.types import Cancel, CloseSlot, Failure, GenerateRequest, LlmEvent, ResponseDelta

JobId = tuple[int, int]


@dataclass(slots=True, eq=False)
class Job:
    """A request and how far it is. ``answered``: its ending has been told."""

    request: GenerateRequest
    submitted_at: float
    spoke: bool = False
    answered: bool = False

    @property
    def id(self) -> JobId:
        return self.request.key, self.request.turn_id


Command = Job | Cancel | CloseSlot


class LlmJobs:
    """First come, first served; a session's next request starts when its last has ended."""

    def __init__(self, backend: LlmBackend, timeout_s: float, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._timeout_s = timeout_s
        self._clock = clock
        self._commands: deque[Command] = deque()
        self._waiting: dict[JobId, Job] = {}
        self._running: dict[JobId, Job] = {}
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
            self._answer(job, Failure(*job.id, LlmFailed.code, message))
        self._commands.clear()
        self._waiting.clear()
        self._running.clear()
        events, self._events = self._events, []
        return events

    # ---- commands --------------------------------------------------------------------------

    def _obey(self, command: Command) -> None:
        if isinstance(command, Job):
            self._waiting[command.id] = command
        elif isinstance(command, Cancel):
            self._cancel((command.key, command.turn_id))
        else:
            self._forget(command.key)

    def _cancel(self, job_id: JobId) -> None:
        if job_id in self._running:
            self._backend.cancel(*job_id)
        elif job_id in self._waiting:
            job = self._waiting.pop(job_id)
            self._answer(job, ResponseDelta(*job_id, "", "cancelled"))
            self._ended.append(job_id)

    def _forget(self, key: int) -> None:
        """Nobody listens any more: what waits is dropped in silence."""
        for job_id in [job_id for job_id in self._waiting if job_id[0] == key]:
            del self._waiting[job_id]
            self._ended.append(job_id)
        for job_id in [job_id for job_id in self._running if job_id[0] == key]:
            self._backend.cancel(*job_id)
        self._backend.forget(key)

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
            self._answer(job, Failure(*job.id, DeadlineExceeded.code, message))
            if job.id in self._running:
                self._backend.cancel(*job.id)  # it holds its slot until the backend lets go
            else:
                self._ended.append(job.id)

    # ---- work ------------------------------------------------------------------------------

    def _start(self) -> None:
        free = self._backend.free
        if not free or not self._waiting:
            return
        sessions = {key for key, _ in self._running}
        for job in list(self._waiting.values()):
            if free and job.request.key not in sessions:
                sessions.add(job.request.key)
                free -= self._begin(job)

    def _begin(self, job: Job) -> bool:
        del self._waiting[job.id]
        try:
            self._backend.submit(job.request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            self._answer(job, Failure(*job.id, LlmFailed.code, f"the reply failed: {error}"))
            self._ended.append(job.id)
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
            if isinstance(event, ResponseDelta) and event.finish_reason is None:
                self._speak(job, event)
                continue
            self._answer(job, event)
            del self._running[job.id]
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
