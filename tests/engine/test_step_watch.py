"""A worker that hangs is told by how long its step takes."""

from __future__ import annotations

import pytest

from engine.step_watch import StepWatch


def test_only_a_step_that_lasts_too_long_is_a_problem() -> None:
    now = [100.0]
    watch = StepWatch("the oven", 30, lambda: now[0])
    now[0] += 1000  # idle, however long
    assert watch.problem is None
    with watch.step():
        now[0] += 30
        assert watch.problem is None
        now[0] += 12
        assert watch.problem == "the oven hangs: its present step has taken 42 s"
    assert watch.problem is None


def test_a_step_that_fails_is_over() -> None:
    now = [0.0]
    watch = StepWatch("the oven", 30, lambda: now[0])
    with pytest.raises(RuntimeError), watch.step():
        raise RuntimeError
    now[0] = 99
    assert watch.problem is None
