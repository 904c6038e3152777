"""The machine's peaks, and how near to them a second of speech comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.page_parts import NOT_MEASURED, Result, dig, markdown_table, measured_at, ordered

_PEAKS = {
    "product_float32_gflops": "matrix product, float32 (GFLOP/s)",
    "product_bfloat16_gflops": "matrix product, bfloat16 (GFLOP/s)",
    "product_int8_gops": "matrix product, int8 (GOP/s)",
    "copy_gbyte_per_s": "memory copy, reads and writes (GB/s)",
}


def best_rate(limits: Result) -> float:
    """The highest measured rate of a matrix product, in G/s."""
    return float(max(v for name, v in limits["peaks"].items() if name.startswith("product_")))


def section(limits: Result | None, load: Result | None) -> str:
    if limits is None:
        return NOT_MEASURED
    least, peaks = limits["least"], limits["peaks"]
    rows = [[_PEAKS[name], f"{value:,.1f}"] for name, value in peaks.items()]
    work_gflop = least["encoder_gflop_per_s"] + least["decoder_gflop_per_s"]
    parts = [
        markdown_table(["peak of this machine, all cores", "measured"], rows),
        f"A second of speech (in utterances of {least['utterance_s']:g} s, "
        f"{least['tokens_per_s']:g} tokens a second) needs at least "
        f"{least['encoder_gflop_per_s']:.2f} GFLOP of the encoder and "
        f"{least['decoder_gflop_per_s']:.2f} of the decoder, and "
        f"{least['decoder_gbyte_per_s_int8']:.2f} GB of int8 weights if no two sessions share a "
        "pass; without partial transcripts, and without silence around the speech.",
        *_share(work_gflop / best_rate(limits), load, limits),
    ]
    return "\n\n".join([*parts, measured_at(limits)])


def _share(machine_s: float, load: Result | None, limits: Result) -> Iterator[str]:
    runs = [run for run in ordered((load or {}).get("runs", []))
            if dig(run, "cost", "cpu_per_speech_s")]  # fmt: skip
    if not runs:
        return
    least_s = machine_s * limits["machine"]["cores"]
    yield (
        f"At the highest of these peaks that is {least_s * 1e3:.1f} ms of one core. What the "
        "server really spends on a second of speech, partial transcripts included, the share "
        "that is strictly needed, and the memory that each session adds to that of the first run:"
    )
    head = ["sessions", "core seconds per second of speech", "needed share", "memory (MB)",
            "MB for each session more"]  # fmt: skip
    yield markdown_table(head, [_cost_row(run, runs[0], least_s) for run in runs])


def _cost_row(run: dict[str, Any], first: dict[str, Any], least_s: float) -> list[str]:
    cpu_s, memory_mb = run["cost"]["cpu_per_speech_s"], run["cost"]["memory_mb_max"]
    more = run["load"]["sessions"] - first["load"]["sessions"]
    each_mb = (memory_mb - first["cost"]["memory_mb_max"]) / more if more else None
    return [
        str(run["load"]["sessions"]),
        f"{cpu_s:.3f}",
        f"{100 * least_s / cpu_s:.1f} %",
        f"{memory_mb:,.0f}",
        "—" if each_mb is None else f"{each_mb:.1f}",
    ]
