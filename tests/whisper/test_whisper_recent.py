"""A memory that cannot grow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.whisper.recent import Recent


def test_the_oldest_leaves_and_use_keeps_young() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert recent.get("b") is None
    assert recent.get("a") == 1
    recent.forget(lambda key: key == "a")
    assert recent.get("a") is None
    assert len(recent) == 1


@given(keys=st.lists(st.integers(0, 9)), capacity=st.integers(1, 4))
def test_it_never_holds_more_than_its_capacity(keys: list[int], capacity: int) -> None:
    recent: Recent[int, int] = Recent(capacity)
    for key in keys:
        recent.put(key, -key)
        assert len(recent) <= capacity
        assert recent.get(key) == -key
