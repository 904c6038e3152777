"""How long a worker's present step has taken, for whoever watches it from another thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StepWatch:
    """The worker stamps when a step begins and ends; ``problem`` may be asked by any thread.

    A model that raises says so. One that hangs says nothing, so it is told by its step, which
    lasts longer than ``limit_s``.
    """

    def __init__(self, who: str, limit_s: float, clock: Callable[[], float]) -> None:
        self._who = who
        self._limit_s = limit_s
        self._clock = clock
        self._began_at: float | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        self._began_at = self._clock()
        try:
            yield
        finally:
            self._began_at = None

    @property
    def busy_s(self) -> float:
        """How long the present step has taken; 0 between two steps."""
        began_at = self._began_at
        return 0.0 if began_at is None else self._clock() - began_at

    @property
    def problem(self) -> str | None:
        """Why the worker seems to hang; None while it does not."""
        spent_s = self.busy_s
        if spent_s <= self._limit_s:
            return None
        return f"{self._who} hangs: its present step has taken {spent_s:.0f} s"
