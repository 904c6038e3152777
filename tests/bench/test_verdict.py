"""Whether a load was carried, and the largest that is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.verdict import RESOLUTION, Target, find_capacity, generator_was_late, reasons


def outcome(**changes: Any) -> dict[str, Any]:
    run: dict[str, Any] = {
        "latency": {"final_s": {"p95": 0.5, "count": 30}, "send_late_ms": {"p99": 2.0}},
        "lag": {"growth_s": 0.0},
        "findings": {},
        "words": {"errors": 40, "offline_errors": 40, "words": 1000, "percent": 4.0,
                  "offline_percent": 4.0, "difference_se": 1.0},
    }  # fmt: skip
    for path, value in changes.items():
        *folders, name = path.split("__")
        inside = run
        for folder in folders:
            inside = inside[folder]
        inside[name] = value
    return run


def test_a_load_that_met_everything_was_carried() -> None:
    assert reasons(outcome(), Target()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latency__final_s__p95": 1.5}, "p95 to the final text 1.50 s"),
        ({"lag__growth_s": 0.6}, "lag grew by 0.60 s"),
        ({"findings__missing": 2}, "2 × missing"),
        ({"findings__astray": 1}, "1 × astray"),
        ({"words__errors": 43, "words__percent": 4.3}, "WER 4.3 against 4.0 offline"),
        ({"latency__final_s__count": 0}, "no turn was measured: the run is too short"),
    ],
)
def test_each_thing_that_is_too_much_is_named(changes: dict[str, Any], said: str) -> None:
    assert reasons(outcome(**changes), Target()) == [said]


def test_a_word_or_two_in_a_short_run_are_chance_and_late_alone_is_no_fault() -> None:
    changes = {"words__errors": 42, "words__words": 100, "findings__late": 3}
    assert reasons(outcome(**changes), Target()) == []
    toss_up = {"words__errors": 49, "words__difference_se": 6.0}  # clips differ both ways
    assert reasons(outcome(**toss_up), Target()) == []
    assert reasons(outcome(**toss_up | {"words__errors": 51}), Target())


def test_a_generator_that_was_late_is_told() -> None:
    assert generator_was_late(outcome(latency__send_late_ms__p99=80.0))
    assert not generator_was_late(outcome())


@given(capacity=st.integers(0, 70), ladder=st.lists(st.integers(1, 64), min_size=1, max_size=8))
def test_the_capacity_is_found_and_each_number_tried_once(capacity: int, ladder: list[int]) -> None:
    asked: list[int] = []

    def carries(sessions: int) -> bool:
        asked.append(sessions)
        return sessions <= capacity

    found = find_capacity(carries, ladder)
    best = min(capacity, max(ladder))
    assert found <= best <= found + max(1, found // RESOLUTION) - 1 or found == best
    assert set(ladder) <= set(asked)
    assert len(asked) == len(set(asked))
    assert len(asked) <= len(ladder) + 6
