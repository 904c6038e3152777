"""The thread that owns the speech model: schedule, step, deliver."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engine import metrics
from engine.admission import Admission
from engine.asr.backend import AsrBackend, AsrJob, Hypothesis
from engine.asr.guards import Verdict, judge, retry
from engine.asr.outstanding import OutstandingFinals
from engine.asr.scheduler import AsrScheduler
from engine.errors import AsrFailed
from engine.inbox import Inbox
from engine.step_watch import StepWatch
from engine.work import AsrCommand, CancelJobs, Promote, Submit

log = logging.getLogger(__name__)


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
        *,
        step_limit_s: float = 30.0,
        on_death: Callable[[str], None] = lambda problem: None,
        admission: Admission | None = None,
    ) -> None:
        """``on_death`` is told why the lane stopped: what it had will not come back. ``admission``
        is told what finals take."""
        self._backend = backend
        self._deliver = deliver
        self._clock = clock
        self._on_death = on_death
        self._scheduler = AsrScheduler()
        # Bounded by what slots ask: a session has one partial and one final out at a time. Nothing
        # is refused, since a final that is lost is an answer that never comes.
        self._inbox: Inbox[AsrCommand] = Inbox(capacity=0)
        self._thread = threading.Thread(target=self._run, name="asr-lane", daemon=True)
        self._submitted: dict[int, AsrJob] = {}  # by number, until they come back
        self._admission = admission or Admission(0.0)
        self._finals = OutstandingFinals()
        self._watch = StepWatch("the speech model", step_limit_s, clock)
        self.dead: str | None = None

    def start(self) -> None:
        self._thread.start()

    def post(self, command: AsrCommand) -> None:
        """Order something; commands take effect in order. Suits any thread, and never waits."""
        match command:
            case Submit(job) if not job.is_final:
                # Of a session's partials only the newest waits, here as in the scheduler: while
                # a step lasts, or hangs, they must not pile up with all their audio.
                self._inbox.put(command, force=True, replaces=(job.key, job.turn_id, job.window))
                return
            case Submit(job) | Promote(job):
                self._finals.add(job)
            case CancelJobs(key, turn_id):
                self._finals.cancel(key, turn_id)
        self._inbox.put(command, force=True)

    @property
    def problem(self) -> str | None:
        """Why no speech is decoded, now or any more."""
        return self.dead or self.stalled

    @property
    def stalled(self) -> str | None:
        """Why it seems to hang, which may pass."""
        return self._watch.problem

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits: a guess would hold up nobody."""
        return not (self._submitted or len(self._scheduler) or len(self._inbox))

    @property
    def finals_wait(self) -> bool:
        """Finals wait for the model; those that it is decoding do not count."""
        return self._scheduler.finals > 0

    @property
    def lag_s(self) -> float:
        """Age of the oldest final without a result, as of now, wherever it is."""
        oldest = self._finals.oldest_at
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)

    def close(self) -> None:
        self._inbox.close()
        if self._thread.is_alive():
            self._thread.join()
        self._backend.close()

    # ---- the lane's thread --------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._inbox.closed:
                busy = len(self._scheduler) or self._submitted
                commands = self._inbox.drain(0.0 if busy else None)
                heard = self.turn(commands)
                if heard:
                    self._deliver(heard)
        except Exception as error:  # a dead lane must be seen, whatever killed it
            log.exception("the lane of the speech model stopped; it had %s", self._names())
            self.dead = f"the lane of the speech model stopped: {error}"
            self._on_death(self.dead)

    def turn(self, commands: Sequence[AsrCommand]) -> list[Heard]:
        """One turn of the loop: take commands, do one step, judge what came of it."""
        with self._watch.step():
            for command in commands:
                self._apply(command)
            batch = self._scheduler.next_batch(self._capacity)
            self._submitted |= {job.number: job for job in batch}
            if batch:
                self._measure(batch)
            if not self._submitted:
                return []
            results = [self._take(hypothesis) for hypothesis in self._step(batch)]
            return [heard for heard in results if heard is not None]

    def _capacity(self, job: AsrJob) -> int:
        """A model that is broken keeps what it had; those who wait are answered all the same."""
        return self._backend.capacity(job) if self.dead is None else len(self._scheduler)

    def _step(self, batch: Sequence[AsrJob]) -> list[Hypothesis]:
        """One step of the model, ``batch`` joining; if it fails, every job it had comes back."""
        try:
            if self.dead is None:
                self._backend.submit(batch)
                return self._backend.step()
        except Exception as error:  # a broken model is answered and reported, not hidden
            log.exception("the speech model failed; it had %s", self._names())
            self.dead = f"the speech model failed: {error}"
        failure = AsrFailed(str(self.dead))
        return [Hypothesis(job, error=failure) for job in self._submitted.values()]

    def _names(self) -> str:
        jobs = self._submitted.values()
        return ", ".join(f"session {job.key} turn {job.turn_id}" for job in jobs) or "nothing"

    def _apply(self, command: AsrCommand) -> None:
        match command:
            case Submit(job):
                if job.is_final:
                    self._finals.add(job)
                self._scheduler.add(job)
            case Promote(job):
                self._promote(job)
            case CancelJobs(key, turn_id):
                self._scheduler.cancel(key, turn_id)
                self._cancel(key, turn_id)

    def _promote(self, job: AsrJob) -> None:
        """A guess has become a final, in the queue or in the model, unless its result is out."""
        if self._scheduler.promote(job):
            self._finals.add(job)
        elif job.number in self._submitted:
            self._finals.add(job)
            self._submitted[job.number] = job
            if self.dead is None:
                self._backend.promote(job)
        else:
            self._finals.remove(job)

    def _cancel(self, key: int, turn_id: int | None) -> None:
        """Take back what the model has of a turn, or of all of a session's."""
        gone = [
            number
            for number, job in self._submitted.items()
            if job.key == key and turn_id in (None, job.turn_id)
        ]
        for number in gone:
            del self._submitted[number]
        self._finals.cancel(key, turn_id)
        if self.dead is None:
            self._backend.cancel(key, turn_id)

    def _take(self, hypothesis: Hypothesis) -> Heard | None:
        """A result to deliver; None if nobody wants it, or its job is tried again with more care.

        A backend may return what was cancelled, and does not know of every promotion.
        """
        job = self._submitted.pop(hypothesis.job.number, None)
        if job is None:
            return None
        if job is not hypothesis.job:
            hypothesis = replace(hypothesis, job=job)
        verdict = Verdict.RETRY if hypothesis.error is not None else judge(hypothesis)
        again = retry(job) if job.is_final and hypothesis.error is None else None
        if verdict is Verdict.RETRY and again is not None:
            self._scheduler.add(again)
            return None
        if job.is_final:
            self._admission.finished(job.key, job.seconds, self._clock() - job.queued_at)
        self._finals.remove(job)
        return Heard(hypothesis, verdict)

    def _measure(self, batch: Sequence[AsrJob]) -> None:
        now = self._clock()
        metrics.BATCH_SIZE.labels("asr").observe(len(batch))
        metrics.QUEUE_DEPTH.labels("asr_final").set(self._scheduler.finals)
        metrics.QUEUE_DEPTH.labels("asr_partial").set(self._scheduler.partials)
        for job in batch:
            if job.is_final:
                metrics.STAGE_SECONDS.labels("asr_queue").observe(now - job.queued_at)
