"""More speakers than were there."""

from __future__ import annotations

from benchmarks.page_parts import NOT_MEASURED, Result, cell, markdown_table


def section(result: Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    rows = [
        [
            str(run["sessions"]),
            cell(run, 2, "final_p50_s"),
            cell(run, 2, "final_p95_s"),
            cell(run, 2, "partials_per_s"),
            f"{100 * run['busy']:.0f} %",
        ]
        for run in result["runs"]
    ]
    head = ["speakers", "final text p50 (s)", "p95", "partials/s", "the model is busy"]
    settings = result["settings"]
    said = (
        f"A segment costs {settings['price_s'] * 1e3:.0f} ms, as at "
        f"{settings['price_from_sessions']} sessions above."
    )
    return f"{said}\n\n{markdown_table(head, rows)}"
