"""Measure the forms of each operation on one device: ``python -m benchmarks.kernels --help``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from benchmarks.kernels.operations import DTYPES, OPERATIONS
from benchmarks.kernels.timing import environment, median_us


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("operations", nargs="*", default=list(OPERATIONS), metavar="OPERATION")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.2, help="time spent on each figure")
    parser.add_argument("--out", type=Path, help="where the results go as JSON")
    arguments = parser.parse_args()
    for name in arguments.operations:
        if name not in OPERATIONS:
            parser.error(f"no operation {name!r}; there are {', '.join(OPERATIONS)}")
    return arguments


@torch.inference_mode()
def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    notes = environment(device) | {"dtype": arguments.dtype}
    print(json.dumps(notes))
    results = []
    for name in arguments.operations:
        for case in OPERATIONS[name](device, DTYPES[arguments.dtype]):
            times_us = {
                form: round(median_us(call, arguments.seconds), 1)
                for form, call in case.forms.items()
            }
            print(f"{case.operation:16} {case.case:44} {times_us}")
            results.append({"operation": case.operation, "case": case.case, "us": times_us})
    if arguments.out:
        arguments.out.write_text(json.dumps(notes | {"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
