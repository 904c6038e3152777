"""Other servers beside ours, under the same load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.load import plots
from benchmarks.page_parts import (
    NOT_MEASURED,
    Pictures,
    Result,
    cell,
    dig,
    markdown_table,
    measured_at,
    ordered,
)
from benchmarks.peers.registry import OURS, PEERS

_HEAD = ["server", "speakers", "final text p50 (s)", "p95 (s)", "p95 ÷ ours", "WER", "alone",
         "partials/s", "CPU s per s of speech", "÷ ours"]  # fmt: skip


def merge(compared: Sequence[Result], ours: Result | None) -> Result | None:
    """All servers' runs in one result; ours come from the load test where both have them."""
    if not compared:
        return None
    merged: Result = dict(compared[0]) | {"runs": [], "peers": {}}
    for one in compared:
        merged["peers"] |= one["peers"]
        merged["runs"] += one["runs"]
    counts = {run["load"]["sessions"] for run in merged["runs"]}
    if ours is not None and not any(run["server"] == OURS for run in merged["runs"]):
        merged["runs"] += [run for run in ours["runs"] if run["load"]["sessions"] in counts]
    return merged


def section(result: Result | None, pictures: Pictures) -> str:
    """A row for each run, its ratios to ours, and a plot of all."""
    if result is None:
        return NOT_MEASURED
    runs = {
        name: ordered([run for run in result["runs"] if run["server"] == name]) for name in PEERS
    }
    ours = {run["load"]["sessions"]: run for run in runs[OURS]}
    rows = []
    for name, peer in PEERS.items():
        rows += [_row(peer.title, run, ours.get(run["load"]["sessions"])) for run in runs[name]]
        why = result["peers"].get(name, {}).get("unavailable")
        if why:
            rows.append([peer.title, "—", f"not measured: {why}", *["—"] * 7])
    lines = []
    for name, peer in PEERS.items():
        heard = [run for run in runs[name] if run["latency"]["final_s"]["count"]]
        speakers = [run["load"]["sessions"] for run in heard]
        p95_s = [run["latency"]["final_s"]["p95"] for run in heard]
        if heard:
            lines.append((peer.title, speakers, p95_s))
    svg = plots.curve(lines, "p95, end of speech to final text", "s", below="speakers",
                      limit=result["settings"]["target_p95_s"], logarithmic=True)  # fmt: skip
    return "\n\n".join([
        markdown_table(_HEAD, rows),
        pictures.add("peers", svg, "95th percentile of the time to the final text, by speakers"),
        measured_at(result),
    ])  # fmt: skip


def _row(title: str, run: dict[str, Any], ours: dict[str, Any] | None) -> list[str]:
    def ratio(*path: str) -> str:
        theirs, own = dig(run, *path), dig(ours, *path)
        return "—" if theirs is None or not own else f"{theirs / own:.1f}"

    return [
        title,
        str(run["load"]["sessions"]),
        cell(run, 2, "latency", "final_s", "p50"),
        cell(run, 2, "latency", "final_s", "p95"),
        ratio("latency", "final_s", "p95"),
        cell(run, 1, "words", "percent"),
        cell(run, 1, "words", "offline_percent"),
        cell(run, 2, "speech", "partials_per_s"),
        cell(run, 3, "cost", "cpu_per_speech_s"),
        ratio("cost", "cpu_per_speech_s"),
    ]


def cannot(result: Result | None) -> str:
    """What each peer cannot do, how it was measured, and its versions."""
    rows = []
    for name, peer in PEERS.items():
        if name == OURS:
            continue
        about = (result or {}).get("peers", {}).get(name, {})
        found = about.get("versions", {})
        versions = ", ".join(f"{package} {version}" for package, version in found.items())
        rows.append([peer.title, "; ".join(peer.cannot), "; ".join(peer.remarks), versions or "—"])
    return markdown_table(["server", "cannot", "as measured here", "versions"], rows)
