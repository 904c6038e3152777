"""The thread that owns the speech model: schedule, step, deliver."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine import metrics
from engine.asr.backend import AsrBackend, AsrJob, Hypothesis
from engine.asr.guards import Verdict, judge, retry
from engine.asr.scheduler import AsrScheduler
from engine.errors import AsrFailed
from engine.inbox import Inbox

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Submit:
    job: AsrJob


@dataclass(frozen=True, slots=True)
class Promote:
    """Nothing was said since this waiting partial: decode it with the finals."""

    job: AsrJob


@dataclass(frozen=True, slots=True)
class CancelJobs:
    """Forget a turn's jobs; all of the session's with ``turn_id=None``."""

    key: int
    turn_id: int | None


AsrCommand = Submit | Promote | CancelJobs


@dataclass(frozen=True, slots=True)
class Heard:
    """A job's result. ``RETRY`` stands where every try was made (finals) or none will be."""

    hypothesis: Hypothesis
    verdict: Verdict


class AsrLane:
    """Runs an ``AsrBackend``; results go to ``deliver`` from the lane's thread."""

    def __init__(
        self,
        backend: AsrBackend,
        deliver: Callable[[Sequence[Heard]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._deliver = deliver
        self._clock = clock
        self._scheduler = AsrScheduler()
        # Unbounded in name only: a session has one partial and one final out at a time.
        self._inbox: Inbox[AsrCommand] = Inbox(capacity=1 << 20)
        self._thread = threading.Thread(target=self._run, name="asr-lane", daemon=True)
        self._submitted: dict[int, AsrJob] = {}  # by identity, until they come back
        self._oldest_final_at: float | None = None  # as of the last turn, for other threads
        self.problem: str | None = None

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: AsrJob) -> None:
        self._inbox.put(Submit(job))

    def promote(self, job: AsrJob) -> None:
        self._inbox.put(Promote(job))

    def cancel(self, key: int, turn_id: int | None = None) -> None:
        self._inbox.put(CancelJobs(key, turn_id), force=True)

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits: a guess would hold up nobody."""
        return not (self._submitted or len(self._scheduler) or len(self._inbox))

    @property
    def lag_s(self) -> float:
        """Age of the oldest final that still waits, as of now. Any thread may ask."""
        oldest = self._oldest_final_at
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)

    def close(self) -> None:
        self._inbox.close()
        if self._thread.is_alive():
            self._thread.join()
        self._backend.close()

    # ---- the lane's thread --------------------------------------------------------------

    def _run(self) -> None:
        while not self._inbox.closed:
            busy = len(self._scheduler) or self._submitted
            commands = self._inbox.drain(0.0 if busy else None)
            heard = self.turn(commands)
            if heard:
                self._deliver(heard)

    def turn(self, commands: Sequence[AsrCommand]) -> list[Heard]:
        """One turn of the loop: take commands, do one step, judge what came of it."""
        for command in commands:
            self._apply(command)
        batch = self._scheduler.next_batch(self._backend.capacity)
        self._oldest_final_at = self._scheduler.oldest_final_at
        if batch:
            self._measure(batch)
            self._submitted |= {id(job): job for job in batch}
        if not self._submitted:
            return []
        hypotheses = self._step(batch)
        for hypothesis in hypotheses:
            self._submitted.pop(id(hypothesis.job), None)
        results = (self._judged(hypothesis) for hypothesis in hypotheses)
        return [heard for heard in results if heard is not None]

    def _step(self, batch: Sequence[AsrJob]) -> list[Hypothesis]:
        """One step of the model, ``batch`` joining; if it fails, every job it had comes back."""
        try:
            if self.problem is None:
                self._backend.submit(batch)
                return self._backend.step()
        except Exception as error:  # a broken model is answered and reported, not hidden
            log.exception("the speech model failed")
            self.problem = f"the speech model failed: {error}"
        failure = AsrFailed(str(self.problem))
        return [Hypothesis(job, error=failure) for job in self._submitted.values()]

    def _apply(self, command: AsrCommand) -> None:
        match command:
            case Submit(job):
                self._scheduler.add(job)
            case Promote(job):
                self._scheduler.promote(job.key, job.turn_id, job.window)
            case CancelJobs(key, turn_id):
                self._scheduler.cancel(key, turn_id)
                self._cancel(key, turn_id)

    def _cancel(self, key: int, turn_id: int | None) -> None:
        """Take back what the model has of a turn, or of all of a session's."""
        gone = [
            name
            for name, job in self._submitted.items()
            if job.key == key and turn_id in (None, job.turn_id)
        ]
        for name in gone:
            del self._submitted[name]
        self._backend.cancel(key, turn_id)

    def _judged(self, hypothesis: Hypothesis) -> Heard | None:
        """A result to deliver; None if the job goes round again, with more care."""
        if hypothesis.error is not None:
            return Heard(hypothesis, Verdict.RETRY)
        verdict = judge(hypothesis)
        again = retry(hypothesis.job) if hypothesis.job.is_final else None
        if verdict is Verdict.RETRY and again is not None:
            self._scheduler.add(again)
            return None
        return Heard(hypothesis, verdict)

    def _measure(self, batch: Sequence[AsrJob]) -> None:
        now = self._clock()
        metrics.BATCH_SIZE.labels("asr").observe(len(batch))
        metrics.QUEUE_DEPTH.labels("asr_final").set(self._scheduler.finals)
        metrics.QUEUE_DEPTH.labels("asr_partial").set(self._scheduler.partials)
        metrics.LAG_SECONDS.set(self.lag_s)
        for job in batch:
            if job.is_final:
                metrics.STAGE_SECONDS.labels("asr_queue").observe(now - job.queued_at)
