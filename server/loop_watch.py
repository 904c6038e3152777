"""How late the event loop is. Whatever blocks it holds up every connection's messages."""

from __future__ import annotations

import asyncio
import time

from server.metrics import LOOP_LATE

EVERY_S = 0.05
"""Something that blocks the loop for longer than this makes the next timer late, by at least the
rest. Shorter would keep an idle server awake."""


async def watch_loop() -> None:
    """Count how late a timer rings, again and again, until cancelled."""
    while True:
        due_s = time.monotonic() + EVERY_S  # the loop's own clock stands still while it works
        await asyncio.sleep(EVERY_S)
        LOOP_LATE.observe(max(0.0, time.monotonic() - due_s))
