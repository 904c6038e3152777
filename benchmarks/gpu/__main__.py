"""Measure everything that a GPU decides, and keep it as JSON.

Each part runs in a process of its own, writes what it has as soon as it has it, and stops no
other: one that fails is reported as failed, with its error. Whisper has random weights of the real
sizes, and texts of forced lengths; speed does not depend on what the weights say. Parts that are
measured later (--only) are put beside those in the file, if they are of the same device.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from benchmarks.gpu import result as results
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.part import run
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.shapes import SHAPES, SMALL

_LEAST_S = 5.0
_EXAMPLES = """
examples:
  on a machine with a GPU, everything, in 25 minutes at most:
    python -m benchmarks.gpu --out benchmarks/results/gpu-h100.json
  the same in pieces of ten minutes, where there is no more at a time:
    python -m benchmarks.gpu --out benchmarks/results/gpu-h100.json --budget-s 560 --only capacity
  there, to see in a minute or two that it runs:
    python -m benchmarks.gpu --out /tmp/quick.json --quick --only kernels,encoder,decoder,capacity
  the same without a GPU; the page shows neither:
    python -m benchmarks.gpu --out /tmp/quick-cpu.json --device cpu --quick
then `python -m benchmarks.page` puts benchmarks/results/gpu-*.json on docs/BENCHMARKS.md
"""


def parse(words: list[str] | None = None) -> argparse.Namespace:
    about = "".join(f"\n  {name:10} {part.says}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=f"{__doc__}\nparts, in their order:{about}",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="the file of results; grows with each part")
    add("--only", type=_parts, metavar="PART,…", help="measure only these (default: all)")
    add("--device", choices=("auto", "cuda", "cpu"), default="auto", help="default: cuda if any")
    add("--quick", action="store_true", help="least sizes and times, to see that it runs")
    add("--budget-s", type=float, default=1500, metavar="S",
        help="stop after so many seconds, and say what is left (default: 1500)")  # fmt: skip
    add("--models", type=_names, metavar="NAME,…", default=None,
        help=f"of {', '.join(SHAPES)} (default: large-v3-turbo,base)")  # fmt: skip
    add("--batches", type=_numbers, metavar="N,…", default=None,
        help="of encoder and decoder (default: 1,2,4,…,256)")  # fmt: skip
    add("--most-speakers", type=int, default=Bench.most_speakers, metavar="N",
        help="where the search for the capacity ends (default: %(default)s)")  # fmt: skip
    add("--window-s", type=float, default=Bench.window_s, metavar="S",
        help="how long each load is held there (default: %(default)s)")  # fmt: skip
    add("--llm-model", metavar="DIR",
        help="for exllamav2 (default: made from the embedded SmolLM2)")  # fmt: skip
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    args, console = parse(words), Console()
    try:
        result = _measured(args, console)
    except results.OtherMachine as error:
        console.print(f"{args.out}: {error}", style="red", markup=False)
        return 2
    return _told(result, args, console)


def _measured(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    bench, result = _bench(args), results.read(args.out)
    ends = time.monotonic() + args.budget_s
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
        TextColumn("{task.fields[state]}"), console=console, transient=True,
        disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        for name in args.only or PARTS:
            task = progress.add_task(name, state=PARTS[name].says)
            limit_s = min(PARTS[name].limit_s, ends - time.monotonic())

            def tell(line: str, name: str = name, task: TaskID = task) -> None:
                progress.update(task, state=line[:80])
                progress.console.print(
                    f"{name:9} {line}", highlight=False, markup=False, soft_wrap=True
                )

            def keep(part: dict[str, Any], name: str = name) -> None:
                results.add(result, name, part)
                results.write(result, args.out)

            keep(run(name, bench, limit_s, tell, keep) if limit_s > _LEAST_S else _too_late())
            progress.remove_task(task)
    return result


def _too_late() -> dict[str, Any]:
    return {"status": "failed", "error": "no time was left", "rows": []}


def _told(result: dict[str, Any], args: argparse.Namespace, console: Console) -> int:
    """A line for each part; 1 if one of them failed."""
    colours = {"measured": "green", "skipped": "yellow", "failed": "red"}
    asked = {name: result["parts"][name] for name in args.only or PARTS}
    for name, part in asked.items():
        why = part.get("error") or part.get("reason") or f"{len(part['rows'])} rows"
        wrong = sum("error" in row for row in part.get("rows", []))
        broken = f", {wrong} of them errors" if wrong else ""
        line = f"{name:9} {part['status']} {part.get('seconds', 0):.0f} s: {why}{broken}"
        console.print(line, style=colours[part["status"]], markup=False, highlight=False)
    console.print(f"written to {args.out}", markup=False, highlight=False)
    return int(any(part["status"] == "failed" for part in asked.values()))


def _bench(args: argparse.Namespace) -> Bench:
    import torch

    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    models = args.models or ((SMALL.name,) if args.quick else Bench.models)
    batches = args.batches or ((1, 4) if args.quick else Bench.batches)
    return Bench(
        device=device,
        quick=args.quick,
        models=models,
        batches=batches,
        most_speakers=args.most_speakers,
        window_s=args.window_s,
        llm_model=args.llm_model,
    )


def _parts(text: str) -> tuple[str, ...]:
    return _known(text, PARTS)


def _names(text: str) -> tuple[str, ...]:
    return _known(text, SHAPES)


def _known(text: str, known: dict[str, Any]) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"no {name!r}; there are {', '.join(known)}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(word) for word in text.split(","))
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("a batch holds at least 1")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
