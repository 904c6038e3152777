"""The run's clock, and speaking by it: the schedule is absolute, so a slow server cannot slow it.

``time.monotonic`` is one clock for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.load.encodings import Piece


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds since the run's epoch."""

    epoch: float

    def now_s(self) -> float:
        return time.monotonic() - self.epoch

    async def until(self, at_s: float) -> None:
        """Sleep until ``at_s``; at once if that has passed."""
        await asyncio.sleep(max(0.0, at_s - self.now_s()))


async def speak(
    clock: Clock,
    start_s: float,
    pieces: Sequence[Piece],
    send: Callable[[float, bytes], Awaitable[None]],
) -> float:
    """Send each piece when it is due, ``send(due_s, piece)``; returns when the last was due.

    A piece that is late is sent at once and delays no later one's due time.
    """
    due_s = start_s
    for offset_s, piece in pieces:
        due_s = start_s + offset_s
        await clock.until(due_s)
        await send(due_s, piece)
    return due_s
