"""One job's failure inside exllamav2 stays that job's.

``iterate`` works on all jobs in turn, and an exception on the way out of it leaves the others
half-way. So each job's own steps are wrapped: what goes wrong in one is noted, and the job ends.
A failure of the device itself is everyone's, and is raised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Guard:
    """Wraps the three methods in which ``ExLlamaV2DynamicJob`` works for itself.

    ``error`` is what went wrong; the job is then to be cancelled.
    """

    def __init__(self, job: Any) -> None:
        self.error: Exception | None = None
        self._prefill: Callable[..., None] = job.prefill
        self._logits: Callable[..., Any] = job.receive_logits
        self._sample: Callable[..., tuple[bool, Any]] = job.receive_sample
        job.prefill = self.prefill
        job.receive_logits = self.receive_logits
        job.receive_sample = self.receive_sample

    def prefill(self, *args: Any) -> None:
        try:
            self._prefill(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            self._note(error)

    def receive_logits(self, *args: Any) -> Any:
        """Five values, the first of them the chosen token; called from a pool of threads."""
        try:
            return self._logits(*args)
        except Exception as error:  # noqa: BLE001
            self._note(error)
            return None, None, None, None, False

    def receive_sample(self, *args: Any) -> tuple[bool, Any]:
        """True ends the job; its pages are then freed by the generator."""
        if self.error is None:
            try:
                return self._sample(*args)
            except Exception as error:  # noqa: BLE001
                self._note(error)
        return True, None

    def _note(self, error: Exception) -> None:
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
            raise error
        self.error = error
