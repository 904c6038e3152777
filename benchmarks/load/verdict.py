"""Whether a server carried a load, and the largest one that it carries. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

RESOLUTION = 16
"""The search ends at a sixteenth of what is carried: a run is no more exact than that."""
_GENERATOR_LATE_MS = 50.0
_WORDS_OF_CHANCE = 2
"""So many words more than offline are no sign of anything in a short run."""
_SURE = 1.645
"""So many standard errors are no chance: one in twenty runs would have them without a cause."""
_FAULTS = ("missing", "doubled", "unexpected", "stalled", "astray", "inconsistent", "error")


@dataclass(frozen=True, slots=True)
class Target:
    final_p95_s: float = 1.0
    """From the end of speech to the final text."""
    wer_points: float = 0.2
    """Above the offline figure for the same clips, as far as chance does not explain it."""


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
    chance = max(_WORDS_OF_CHANCE, _SURE * words["difference_se"])
    if more > max(chance, words["words"] * target.wer_points / 100):
        found.append(f"WER {words['percent']:.1f} against {words['offline_percent']:.1f} offline")
    return found


def generator_was_late(run: dict[str, Any]) -> bool:
    """The figures of such a run are those of the generator."""
    return bool(run["latency"]["send_late_ms"].get("p99", 0.0) > _GENERATOR_LATE_MS)


def find_capacity(carries: Callable[[int], bool], ladder: Sequence[int]) -> int:
    """The largest number of sessions that is carried; 0 if not even the smallest is.

    Every rung of the ladder is tried, so that the whole curve is there, and then the gap between
    the last rung before the first that was too much, and that one, is bisected. ``carries`` is
    asked once for each number at most.
    """
    rungs = sorted(set(ladder))
    carried = [carries(sessions) for sessions in rungs]
    if all(carried):
        return rungs[-1]
    first_bad = carried.index(False)
    good, bad = (rungs[first_bad - 1] if first_bad else 0), rungs[first_bad]
    while bad - good > max(1, good // RESOLUTION):
        middle = (good + bad) // 2
        if carries(middle):
            good = middle
        else:
            bad = middle
    return good
