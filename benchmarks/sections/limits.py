"""The machine's peaks, and how near to them a second of speech comes."""

from __future__ import annotations

from collections.abc import Iterator

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
    costs = [(run["load"]["sessions"], cost) for run in ordered((load or {}).get("runs", []))
             if (cost := dig(run, "cost", "cpu_per_speech_s"))]  # fmt: skip
    if not costs:
        return
    cores = limits["machine"]["cores"]
    least_s = machine_s * cores
    rows = [[str(sessions), f"{cost:.3f}", f"{100 * least_s / cost:.1f} %"]
            for sessions, cost in costs]  # fmt: skip
    yield (
        f"At the highest of these peaks that is {least_s * 1e3:.1f} ms of one core. What the "
        "server really spends on a second of speech, partial transcripts included, and the share "
        "that is strictly needed:"
    )
    yield markdown_table(["sessions", "core seconds per second of speech", "needed share"], rows)
