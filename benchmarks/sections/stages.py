"""One session, and each model by itself: pytest-benchmark's own file."""

from __future__ import annotations

from benchmarks.least_work import POSITIONS_PER_S, TOKENS_PER_S, Shapes, decoder_flop, encoder_flop
from benchmarks.page_parts import NOT_MEASURED, Result, markdown_table
from benchmarks.sections.limits import best_rate

_INSIDE = ("_p50_ms", "_p99_ms", "_mean_ms", "rss_mb")
_SEGMENT_S = 5.0


def section(result: Result | None, limits: Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    rows = []
    for one in result["benchmarks"]:
        stats = one["stats"]
        extra = ", ".join(f"{name} {value:g}" for name, value in one["extra_info"].items()
                          if name.endswith(_INSIDE))  # fmt: skip
        rows.append([f"`{one['name']}`", f"{stats['median'] * 1e3:,.2f}",
                     f"{stats['min'] * 1e3:,.2f}", str(stats["rounds"]), extra])  # fmt: skip
    table = markdown_table(["benchmark", "median (ms)", "min (ms)", "rounds", "inside"], rows)
    return table + _shares(result, limits)


def _shares(latency: Result, limits: Result | None) -> str:
    """How much of a stage's time its arithmetic needs at the machine's measured peak."""
    found = [one["extra_info"] for one in latency["benchmarks"]
             if one["name"] == "test_whisper_encode_and_decode[1]"]  # fmt: skip
    if limits is None or not found:
        return ""
    model = Shapes(**limits["shapes"])
    positions, tokens = int(_SEGMENT_S * POSITIONS_PER_S), int(_SEGMENT_S * TOKENS_PER_S)
    least_flop = {
        "asr_encode": encoder_flop(model, positions),
        "asr_decode": decoder_flop(model, positions, tokens),
    }
    rows = []
    for stage, flop in least_flop.items():
        mean_ms, least_ms = found[0][f"{stage}_mean_ms"], flop / best_rate(limits) / 1e6
        rows.append([stage, f"{mean_ms:.1f}", f"{flop / 1e9:.2f}", f"{least_ms:.2f}",
                     f"{100 * least_ms / mean_ms:.1f} %"])  # fmt: skip
    head = ["stage, one segment of five seconds", "mean (ms)", "least work (GFLOP)",
            "at the machine's peak (ms)", "share"]  # fmt: skip
    said = (
        "The least work is that of the five seconds alone (the encoder's context is at least "
        "12 s), and the peak the highest that any type reaches on all cores; the share of its own "
        "type's peak is under *Whisper by itself*."
    )
    return f"\n\n{markdown_table(head, rows)}\n\n{said}"
