"""The event loop's own clock: something that blocks the loop is counted."""

from __future__ import annotations

import asyncio
import time

from harness import in_loop

from server.loop_watch import watch_loop
from server.metrics import LOOP_LATE


def later_than(bound: str) -> tuple[float, float]:
    """How many timers rang in all, and how many later than ``bound`` seconds."""
    below = {
        sample.labels["le"]: sample.value
        for sample in LOOP_LATE.collect()[0].samples
        if sample.name.endswith("_bucket")
    }
    return below["+Inf"], below["+Inf"] - below[bound]


@in_loop
async def test_what_blocks_the_loop_is_counted_as_lateness() -> None:
    counted, late = later_than("0.02")
    watching = asyncio.create_task(watch_loop())
    async with asyncio.timeout(10):
        while later_than("0.02")[0] == counted:
            await asyncio.sleep(0)
        time.sleep(0.1)  # the planted block
        while later_than("0.02")[1] == late:
            await asyncio.sleep(0)
    watching.cancel()
