"""What decoding the clients' audio costs."""

from __future__ import annotations

from benchmarks.page_parts import NOT_MEASURED, Result, markdown_table, measured_at


def section(result: Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    rows = [
        [
            name.replace("_", " "),
            f"{one['cpu_us_per_audio_s_median'] / 1e3:.2f}",
            f"{one['chunk_cpu_us_p50']:.0f}",
            f"{one['chunk_cpu_us_p99']:.0f}",
            f"{one['bytes_per_audio_s'] / 1e3:.1f}",
            f"{one['kb_per_idle_stream']:.0f}",
        ]
        for name, one in result["formats"].items()
    ]
    settings = result["settings"]
    head = ["format", "ms of one core for a second of audio",
            f"a chunk of {settings['chunk_ms']} ms p50 (µs)", "p99 (µs)", "kB/s",
            f"kB an idle stream ({settings['streams']:,} open)"]  # fmt: skip
    return f"{markdown_table(head, rows)}\n\n{measured_at(result)}"
