"""Where the server's time goes at capacity, and how late its event loop was."""

from __future__ import annotations

from typing import Any

from benchmarks.page_parts import NOT_MEASURED, Result, markdown_table, measured_at

_LINES = 4


def section(result: Result | None) -> str:
    run = (result or {"runs": [{}]})["runs"][-1]
    profile = run.get("profile")
    if result is None or not profile or "threads" not in profile:
        return NOT_MEASURED
    rows = [
        [one["name"], f"{one['cores']:.2f}", "; ".join(map(_seen, one["lines"][:_LINES])) or "—"]
        for one in profile["threads"]
        if one["cores"] >= 0.005
    ]
    head = ["thread", "cores", "lines of Python that it was seen in most (share of its samples)"]
    said = (
        f"At {run['load']['sessions']} sessions, {profile['samples']:,} samples of running Python "
        f"threads at {profile['rate_hz']} Hz. `MainThread` is the event loop's. What a line costs "
        "includes the native code that it calls."
    )
    parts = [said, markdown_table(head, rows), *_event_loop(run), measured_at(result)]
    return "\n\n".join(parts)


def _seen(one: dict[str, Any]) -> str:
    return f"`{one['where']}` {100 * one['share']:.0f} %"


def _event_loop(run: dict[str, Any]) -> list[str]:
    loop = (run.get("metrics") or {}).get("event_loop")
    if not loop:
        return []
    return [
        f"A timer every 5 ms on the event loop tells how long it was held up: of "
        f"{loop['timers']:,.0f} timers **{loop['over_20_ms']:.0f} rang more than 20 ms late**; "
        f"99 % were late by less than {loop['p99_under_ms']:g} ms, and the latest by less than "
        f"{loop['latest_under_ms']:g} ms."
    ]
