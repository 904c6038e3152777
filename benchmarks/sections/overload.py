"""The page's part on more people than can be carried, from ``load-overload*.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.page_parts import NOT_MEASURED, Result, cell, markdown_table, measured_at

_HEAD = ["processor", "sessions that came", "admitted", "final text p50 (s)", "p95", "max",
         "target (s)", "refused", "told within p95 (ms)", "max",
         "messages missing, doubled or unexpected"]  # fmt: skip


def section(found: Sequence[Result]) -> str:
    if not found:
        return NOT_MEASURED
    rows = [_row(result, run) for result in found for run in result["runs"]]
    return f"{markdown_table(_HEAD, rows)}\n\n{measured_at(found[0])}"


def _row(result: Result, run: dict[str, Any]) -> list[str]:
    isa = result["machine"].get("isa", "native")
    faults = {kind: count for kind, count in run["findings"].items() if kind != "error"}
    return [
        "as it is" if isa == "native" else f"limited to {isa}",
        str(run["load"]["sessions"]),
        str(run["opened"]),
        *(cell(run, 2, "latency", "final_s", p) for p in ("p50", "p95", "max")),
        f"{result['settings']['target_p95_s']:g}",
        cell(run, 0, "latency", "refused_ms", "count"),
        *(cell(run, 1, "latency", "refused_ms", p) for p in ("p95", "max")),
        ", ".join(f"{kind}: {count}" for kind, count in faults.items()) or "none",
    ]
