"""For tests that wait for another thread."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 30
"""Until a test gives up."""


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.001)
