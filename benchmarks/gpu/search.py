"""The largest load that is carried."""

from __future__ import annotations

from collections.abc import Callable


def most_carried(
    carried: Callable[[int], bool], start: int, most: int, precision: float = 0.05
) -> int:
    """Doubling from ``start`` up to ``most``, then bisection; 0 if not even 1 is carried.

    ``precision`` is the share by which the answer may be too small, and is at least 1.
    """
    assert 1 <= start <= most
    low, high, load = 0, most + 1, start
    while low < load < high:
        if carried(load):
            low, load = load, min(2 * load, most)
        else:
            high = load
    while high - low > max(1, precision * low):
        middle = (low + high) // 2
        low, high = (middle, high) if carried(middle) else (low, middle)
    return low
