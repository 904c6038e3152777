"""docs/BENCHMARKS.md and its plots, from the files of results: ``python -m benchmarks.page``.

Every figure on the page is read from a file; where a file is missing, the page says that it was
not measured. ``page.md`` holds the words, and ``notes/`` what people concluded, with its date.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from string import Template

from benchmarks.load import results
from benchmarks.page_parts import NOT_MEASURED, Pictures, Result, measured_at
from benchmarks.sections import (
    capacity,
    final_time,
    gpu,
    limits,
    media,
    overload,
    peers,
    profile,
    replies,
    simulation,
    stages,
    whisper,
    words,
)

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "BENCHMARKS.md"
TEMPLATE = HERE / "page.md"
NOTES = HERE / "notes"
_OVERLOADS = ("load-overload", "load-overload-avx2")
_OTHERS = ("load-webm", "load-mixed", "load-bursty", "load-churn")


def build(folder: Path, page: Path) -> None:
    """Write the page beside which the plots lie in ``benchmarks/``."""

    def read(name: str) -> Result | None:
        return results.read(folder / f"{name}.json")

    continuous, other = read("load-continuous"), read("load-continuous-ctranslate2")
    talk, peak = read("load-conversation"), read("limits")
    compared = [one for one in map(read, ("compare-stream", "compare")) if one]
    beside = peers.merge(compared, continuous)
    pictures = Pictures(page.parent / "benchmarks")
    text = Template(TEMPLATE.read_text("utf-8")).substitute(
        when=_when([continuous, other, talk, *compared, peak]),
        capacity=capacity.section(continuous, "continuous", pictures),
        avx2=capacity.section(read("load-continuous-avx2"), "continuous-avx2", pictures),
        final_time_avx2=final_time.section(read("final_time-avx2")) or NOT_MEASURED,
        overload=overload.section([one for one in map(read, _OVERLOADS) if one]),
        other=capacity.section(other, "continuous-ctranslate2", pictures),
        conversation=capacity.section(talk, "conversation", pictures),
        others=capacity.others([one for one in map(read, _OTHERS) if one]),
        peers=peers.section(beside, pictures),
        cannot=peers.cannot(beside),
        final_time=final_time.section(read("final_time")) or NOT_MEASURED,
        gpu=gpu.section(folder, pictures),
        replies=replies.section(folder, pictures),
        stages=stages.section(read("latency"), peak),
        whisper=whisper.section(read("whisper"), pictures),
        savings=words.savings({name: read(f"context-{name}") for name in ("torch", "ctranslate2")}),
        oracle=words.oracle(read("oracle")),
        stability=words.stability(read("stability")),
        long_speech=words.long_speech(read("long_speech")),
        joined=words.joined(read("joined")),
        media=media.section(read("media")),
        limits=limits.section(peak, continuous),
        simulation=simulation.section(read("simulation")),
        profile=profile.section(read("load-profile")),
        profile_note=(NOTES / "profile.md").read_text("utf-8").strip(),
    )
    page.write_text(text, "utf-8")


def _when(found: Sequence[Result | None]) -> str:
    known = [one for one in found if one]
    return measured_at(known[0]) if known else NOT_MEASURED


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--results", type=Path, default=results.RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    build(args.results, args.page)
    print(args.page)


if __name__ == "__main__":
    main()
