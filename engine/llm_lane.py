"""The thread that owns the language model and its jobs; everyone else posts commands to it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from engine.client import Deliver
from engine.config import EngineSettings
from engine.errors import AntiphonError, LlmFailed, ModelError, Overloaded
from engine.inbox import Inbox
from engine.llm.backend import LlmBackend, Wake
from engine.llm.early import Early, Withdraw
from engine.llm.jobs import Command, Job, JobId, LlmJobs
from engine.step_watch import StepWatch
from engine.types import AssumedAfter, Cancel, CloseSlot, Failure, GenerateRequest

log = logging.getLogger(__name__)

_DRAIN_S = 5.0  # how long a closing lane waits for a backend to let its jobs go


class LlmLane:
    """Runs replies. ``submit``, ``cancel`` and ``forget`` never wait and suit any thread.

    ``load`` is called on the lane's thread. ``deliver`` is called there too, once for all that
    one turn of the lane brought; it must neither wait nor raise.
    """

    def __init__(
        self,
        load: Callable[[Wake], LlmBackend],
        settings: EngineSettings,
        deliver: Deliver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._settings = settings
        self._deliver = deliver
        self._clock = clock
        self._limit = settings.llm_slots + settings.llm_queue
        self._inbox: Inbox[Command] = Inbox(self._limit)
        self._lock = threading.Lock()
        self._open: set[JobId] = set()
        self._problem: str | None = None
        self._watch = StepWatch("the language model", settings.step_timeout_s, clock)
        self._letting_go_since: float | None = None  # as of the last turn, for other threads
        self._backend: LlmBackend | None = None
        self._closing = False
        self._loaded = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llm-lane", daemon=True)

    @property
    def name(self) -> str:
        """Of the backend and its model, as far as they are known."""
        return self._settings.llm if self._backend is None else self._backend.name

    @property
    def alive(self) -> bool:
        """The model is loaded and warm, and nothing has broken it."""
        return self._loaded.is_set() and self.problem is None and self._thread.is_alive()

    @property
    def problem(self) -> str | None:
        """Why there are no replies, now or any more, for people."""
        if self._problem is not None or self._backend is None:
            return self._problem
        return self._backend.problem or self.stalled

    @property
    def stalled(self) -> str | None:
        """Why the model seems to hang, which may pass."""
        since, limit_s = self._letting_go_since, self._settings.step_timeout_s
        if since is not None and (spent_s := self._clock() - since) > limit_s:
            return f"the language model hangs: it was told to stop a reply {spent_s:.0f} s ago"
        return self._watch.problem

    @property
    def dead(self) -> str | None:
        """Why there will be no replies any more; unlike a remote server's trouble it stays."""
        return self._problem

    def begin(self) -> None:
        """Start to load and warm the model, beside whatever else is being loaded."""
        self._thread.start()

    def wait_ready(self) -> None:
        """Block until the model is loaded and warm. Raises ``ModelError``."""
        self._loaded.wait()
        if self._problem is not None:
            raise ModelError(self._problem)

    def submit(self, request: GenerateRequest) -> None:
        """Ask for a reply.

        Raises ``Overloaded`` if as many as may are waiting, ``LlmFailed`` if the lane is dead;
        then nothing is delivered.
        """
        with self._lock:
            job = Job(request, self._clock())
            if self._problem is not None or self._closing:
                raise LlmFailed(self._problem or "the engine is shutting down")
            if len(self._open) >= self._limit:
                raise Overloaded(f"{len(self._open)} replies are being made or waiting")
            assert job.id not in self._open, f"turn {job.id} has a reply on its way"
            self._open.add(job.id)
            self._inbox.put(job, force=True)

    def anticipate(
        self, request: GenerateRequest, after: AssumedAfter = "pause", idle: bool = True
    ) -> None:
        """A reply that may be asked for: made in idle time, told only if it is.

        Its prompt only, unless speech is ``idle`` too.
        """
        self._inbox.put(Early(request, after, idle))

    def withdraw(self, key: int, turn_id: int) -> None:
        """The reply that was anticipated will not be asked for."""
        self._inbox.put(Withdraw(key, turn_id), force=True)

    def cancel(self, key: int, turn_id: int) -> None:
        """Stop a turn's reply: its last delta says ``cancelled``. Does nothing if it is over."""
        self._inbox.put(Cancel(key, turn_id), force=True)

    def forget(self, key: int) -> None:
        """The session is over: replies not begun are dropped without a word."""
        self._inbox.put(CloseSlot(key), force=True)

    def close(self) -> None:
        """Cancel what runs, answer everything, free the model; blocks until it is done."""
        with self._lock:
            self._closing = True
        self._inbox.wake()
        if self._thread.ident is not None:
            self._thread.join()

    # ---- on the lane's thread --------------------------------------------------------------

    def _run(self) -> None:
        try:
            backend = self._load(self._inbox.wake)
        except Exception as error:  # `wait_ready` raises it on its caller's thread
            if not isinstance(error, AntiphonError):  # those say themselves what is wrong
                log.exception("the language model does not load")
            self._die(f"the language model does not load: {error}")
            self._loaded.set()
            return
        self._backend = backend
        with contextlib.closing(backend):
            self._serve(backend)

    def _serve(self, backend: LlmBackend) -> None:
        jobs = LlmJobs(backend, self._settings.llm_timeout_s, self._clock)
        try:
            backend.warmup()
            self._loaded.set()
            self._loop(jobs)
            self._drain(jobs)
        except Exception as error:  # one engine, so every job dies with it
            log.exception("the language model failed; it had %s", jobs.names())
            self._die(f"the language model failed: {error}", jobs)
        finally:
            self._loaded.set()

    def _loop(self, jobs: LlmJobs) -> None:
        while not self._closing:
            self._turn(jobs, jobs.wait_s())

    def _turn(self, jobs: LlmJobs, wait_s: float | None) -> None:
        commands = self._inbox.drain(wait_s)
        with self._watch.step():
            events = jobs.turn(commands)
        self._letting_go_since = jobs.letting_go_since
        self._release(jobs.take_ended())
        if events:
            self._deliver(events)

    def _drain(self, jobs: LlmJobs) -> None:
        """Take what the inbox still holds, cancel all of it, wait for the endings."""
        self._turn(jobs, 0)
        jobs.cancel_all()
        give_up_at = time.monotonic() + _DRAIN_S
        while not jobs.idle and (left_s := give_up_at - time.monotonic()) > 0:
            wait_s = jobs.wait_s()
            self._turn(jobs, left_s if wait_s is None else min(left_s, wait_s))
        if unanswered := jobs.fail_all("the engine is shutting down"):
            self._deliver(unanswered)

    def _release(self, ended: list[JobId]) -> None:
        with self._lock:
            self._open.difference_update(ended)

    def _die(self, problem: str, jobs: LlmJobs | None = None) -> None:
        with self._lock:
            self._problem = problem
            late = self._inbox.drain(0)
        events = jobs.fail_all(problem) if jobs else []
        events += [
            Failure(*job.id, LlmFailed.code, problem) for job in late if isinstance(job, Job)
        ]
        if events:
            self._deliver(events)
