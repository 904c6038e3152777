"""The page's part on the final text of one speaker, from ``final_time.json``."""

from __future__ import annotations

from typing import Any

from benchmarks.page_parts import cell, markdown_table, measured_at

_SIDES = ("antiphon", "faster_whisper")
_HEAD = ["the segment ends", "utterances", "final text p50 (s)", "p95", "mean",
         "faster-whisper p50 (s)", "p95", "mean", "ratio p50", "p95", "mean", "WER",
         "faster-whisper's", "decoder passes after the end"]  # fmt: skip


def section(result: dict[str, Any] | None) -> str | None:
    """Markdown; None where nothing was measured."""
    if result is None:
        return None
    rows = [
        [
            run["end"],
            str(run["utterances"]),
            *(cell(run, 3, side, name) for side in _SIDES for name in ("p50_s", "p95_s", "mean_s")),
            *(cell(run, 3, "ratio", name) for name in ("p50", "p95", "mean")),
            *(cell(run, 1, side, "wer_percent") for side in _SIDES),
            cell(run, 1, "passes_after_the_end_mean"),
        ]
        for run in result["runs"]
    ]
    settings, name = result["settings"], result["runs"][0]["asr"]
    said = (
        f"`{name}` on {settings['threads']} threads, partial transcripts each "
        f"{settings['partial_interval_s']:g} s."
    )
    return f"{said}\n\n{markdown_table(_HEAD, rows)}\n\n{measured_at(result)}"
