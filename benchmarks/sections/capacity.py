"""Latency and cost against the number of sessions, from files of the load test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.load import plots
from benchmarks.page_parts import (
    NOT_MEASURED,
    Pictures,
    Result,
    Runs,
    cell,
    dig,
    markdown_table,
    measured_at,
    ordered,
)

_HEAD = ["sessions", "turns", "final text p50 (s)", "p95", "max", "after the voice p50 (s)",
         "first token p50 (s)", "reply p95 (s)", "ack p99 (ms)", "partials/s", "WER", "alone",
         "cores", "MB", "loop late by more than 20 ms", "carried"]  # fmt: skip
_OTHERS_HEAD = ["profile", "audio", "sessions", "turns", "final text p50 (s)", "p95", "WER",
                "alone", "findings", "carried"]  # fmt: skip


def section(result: Result | None, name: str, pictures: Pictures) -> str:
    if result is None:
        return NOT_MEASURED
    runs = ordered(result["runs"])
    parts = [markdown_table(_HEAD, [_row(run) for run in runs])]
    if "capacity" in result:
        parts.append(f"Carried: **{result['capacity']['sessions']} sessions** "
                     f"(tried up to {result['capacity']['searched_up_to']}).")  # fmt: skip
    if len(runs) > 1:
        parts.append(" ".join(_plots(runs, name, result["settings"]["target_p95_s"], pictures)))
    return "\n\n".join([*parts, measured_at(result)])


def _row(run: dict[str, Any]) -> list[str]:
    return [
        str(run["load"]["sessions"]),
        f"{run['speech']['answered']}/{run['speech']['turns']}",
        *(cell(run, 2, "latency", "final_s", p) for p in ("p50", "p95", "max")),
        cell(run, 2, "latency", "after_voice_s", "p50"),
        cell(run, 2, "latency", "first_token_s", "p50"),
        cell(run, 2, "latency", "response_s", "p95"),
        cell(run, 1, "latency", "ack_ms", "p99"),
        cell(run, 2, "speech", "partials_per_s"),
        cell(run, 1, "words", "percent"),
        cell(run, 1, "words", "offline_percent"),
        cell(run, 2, "cost", "cpu_cores"),
        cell(run, 0, "cost", "memory_mb_max"),
        _late(run),
        _verdict(run),
    ]


def _late(run: dict[str, Any]) -> str:
    timers = dig(run, "metrics", "event_loop", "timers")
    if timers is None:
        return "—"
    late = cell(run, 0, "metrics", "event_loop", "over_20_ms")
    latest = cell(run, 0, "metrics", "event_loop", "latest_under_ms")
    return f"{late} of {timers:,.0f}; all under {latest} ms"


def _plots(runs: Runs, name: str, target_s: float, pictures: Pictures) -> list[str]:
    final = [_line(runs, p, "latency", "final_s", p) for p in ("p50", "p95", "max")]
    cores = [_line(runs, "server", "cost", "cpu_cores"),
             _line(runs, "generator", "generator", "cpu_cores")]  # fmt: skip
    latency = plots.curve(final, "End of speech to final text", "s", limit=target_s,
                          logarithmic=True)  # fmt: skip
    return [
        pictures.add(f"{name}-latency", latency, "Latency against sessions"),
        pictures.add(
            f"{name}-cores", plots.curve(cores, "Processor", "cores"), "Cores against sessions"
        ),
    ]


def others(found: Sequence[Result]) -> str:
    """The other profiles and encodings, a row for each run."""
    if not found:
        return NOT_MEASURED
    rows = [
        [
            run["load"]["profile"],
            run["load"]["encoding"] if run["load"]["profile"] != "mixed" else "all",
            str(run["load"]["sessions"]),
            f"{run['speech']['answered']}/{run['speech']['turns']}",
            cell(run, 2, "latency", "final_s", "p50"),
            cell(run, 2, "latency", "final_s", "p95"),
            cell(run, 1, "words", "percent"),
            cell(run, 1, "words", "offline_percent"),
            str(sum(run["findings"].values())),
            _verdict(run),
        ]
        for result in found
        for run in result["runs"]
    ]
    return f"{markdown_table(_OTHERS_HEAD, rows)}\n\n{measured_at(found[0])}"


def _verdict(run: dict[str, Any]) -> str:
    return "yes" if run["carried"] else "; ".join(run["reasons"])


def _line(runs: Runs, name: str, *path: str) -> plots.Line:
    known = [(run["load"]["sessions"], value) for run in runs
             if (value := dig(run, *path)) is not None]  # fmt: skip
    return name, [one for one, _ in known], [value for _, value in known]
