"""Which segments are decoded next: pure policy, no clock and no thread.

There is no collection window: the batch is whatever arrived while the last step ran. Finals go
before partials, oldest first, and are never dropped. Of a session's partials only the newest waits;
those decoded at a pause go first, since they may come to stand for finals. A batch holds
finals or partials, so that no final waits for a partial beside it, and jobs of one encoder context
and one temperature only, so that a job's result does not depend on its neighbours. Under load
partials grow rarer by themselves: each session has one at most, they take turns, and they run only
when no final waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from engine.asr.backend import AsrJob
from engine.asr.guards import context_s

Capacity = Callable[[AsrJob], int]


class AsrScheduler:
    """Jobs that wait for the speech model."""

    def __init__(self) -> None:
        self._finals: deque[AsrJob] = deque()
        self._partials: dict[int, AsrJob] = {}  # by session key, in order of arrival

    def __len__(self) -> int:
        return len(self._finals) + len(self._partials)

    @property
    def finals(self) -> int:
        return len(self._finals)

    @property
    def partials(self) -> int:
        return len(self._partials)

    @property
    def oldest_final_at(self) -> float | None:
        """When the longest-waiting final was queued."""
        return min((job.queued_at for job in self._finals), default=None)

    def add(self, job: AsrJob) -> None:
        """Queue a job. A window's final makes its waiting partial pointless."""
        if job.is_final:
            partial = self._partials.get(job.key)
            if partial and (partial.turn_id, partial.window) == (job.turn_id, job.window):
                del self._partials[job.key]
            self._finals.append(job)
        else:
            # The newer partial takes the older one's place in the line.
            self._partials[job.key] = job

    def promote(self, job: AsrJob) -> bool:
        """``job`` is the final that a waiting partial has become. False if it no longer waits."""
        partial = self._partials.get(job.key)
        if partial is None or partial.number != job.number:
            return False
        self.add(job)
        return True

    def cancel(self, key: int, turn_id: int | None = None) -> None:
        """Forget a turn's jobs, or all of a session's."""

        def kept(job: AsrJob) -> bool:
            return job.key != key or turn_id not in (None, job.turn_id)

        self._finals = deque(filter(kept, self._finals))
        if key in self._partials and not kept(self._partials[key]):
            del self._partials[key]

    def next_batch(self, capacity: Capacity) -> list[AsrJob]:
        """Take the next batch out of the queue: never more than ``capacity`` of its first job."""
        partials = sorted(self._partials.values(), key=lambda job: not job.stands_in)  # stable
        waiting = [*self._finals, *partials]
        if not waiting:
            return []
        first = waiting[0]
        alike = [job for job in waiting if _kind(job) == _kind(first)]
        batch = alike[: capacity(first)]
        taken = {id(job) for job in batch}
        self._finals = deque(job for job in self._finals if id(job) not in taken)
        self._partials = {k: job for k, job in self._partials.items() if id(job) not in taken}
        return batch


def _kind(job: AsrJob) -> tuple[bool, int, float]:
    return job.is_final, context_s(job.seconds, job.full_context), job.temperature
