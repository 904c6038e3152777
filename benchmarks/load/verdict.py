"""Whether a server carried a load, and the largest one that it carries. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_GENERATOR_LATE_MS = 50.0
_WORDS_OF_CHANCE = 2
"""So many words more than offline are no sign of anything in a short run."""
_FAULTS = ("missing", "doubled", "unexpected", "stalled", "astray", "inconsistent", "error")


@dataclass(frozen=True, slots=True)
class Target:
    final_p95_s: float = 1.0
    """From the end of speech to the final text."""
    wer_points: float = 0.2
    """Above the offline figure for the same clips."""


def reasons(run: dict[str, Any], target: Target) -> list[str]:
    """Why the load was too much; empty if it was carried."""
    found = []
    final = run["latency"]["final_s"]
    if not final["count"]:
        return ["no turn was measured: the run is too short"]
    if final["p95"] > target.final_p95_s:
        found.append(f"p95 to the final text {final['p95']:.2f} s")
    if run["lag"]["growth_s"] > target.final_p95_s / 2:
        found.append(f"lag grew by {run['lag']['growth_s']:.2f} s")
    found += [f"{run['findings'][kind]} × {kind}" for kind in _FAULTS if run["findings"].get(kind)]
    words = run["words"]
    more = words["errors"] - words["offline_errors"]
    if more > max(_WORDS_OF_CHANCE, words["words"] * target.wer_points / 100):
        found.append(f"WER {words['percent']:.1f} against {words['offline_percent']:.1f} offline")
    return found


def generator_was_late(run: dict[str, Any]) -> bool:
    """The figures of such a run are those of the generator."""
    return bool(run["latency"]["send_late_ms"].get("p99", 0.0) > _GENERATOR_LATE_MS)


def find_capacity(carries: Callable[[int], bool], highest: int) -> int:
    """The largest number of sessions up to ``highest`` that is carried, by doubling and then
    bisection; 0 if not even one is. ``carries`` is asked once for each number at most."""
    good, bad = 0, highest + 1
    sessions = 1
    while sessions <= highest:
        if not carries(sessions):
            bad = sessions
            break
        good = sessions
        sessions = min(sessions * 2, highest) if sessions < highest else highest + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if carries(middle):
            good = middle
        else:
            bad = middle
    return good
