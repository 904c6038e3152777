"""Finals that were asked for and are not answered, wherever they are: how far behind speech is."""

from __future__ import annotations

import threading

from engine.asr.backend import AsrJob


class OutstandingFinals:
    """Counted from when they are submitted, in an inbox, a queue or the model. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[int, AsrJob] = {}

    def add(self, job: AsrJob) -> None:
        with self._lock:
            self._jobs[job.number] = job

    def remove(self, job: AsrJob) -> None:
        with self._lock:
            self._jobs.pop(job.number, None)

    def cancel(self, key: int, turn_id: int | None) -> None:
        """Forget a turn's finals, or all of a session's."""
        with self._lock:
            self._jobs = {
                number: job
                for number, job in self._jobs.items()
                if job.key != key or turn_id not in (None, job.turn_id)
            }

    @property
    def oldest_at(self) -> float | None:
        """When the oldest of them was queued."""
        with self._lock:
            return min((job.queued_at for job in self._jobs.values()), default=None)
