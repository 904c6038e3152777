"""``antiphon bench latency``: pytest-benchmark over one session and over each model by itself."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from engine.errors import AntiphonError

_FOLDER = Path(__file__).parent.parent
_NOTHING_COLLECTED = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--stages", action="store_true", help="the models by themselves only, without a server")
    add("--quick", action="store_true", help="only what takes a few seconds")
    add("--save", action="store_true", help="keep the figures in benchmarks/results")
    add("--compare", action="store_true", help="show them beside those that were kept last")
    add("--output", type=Path, metavar="FILE", help="also write them there, as JSON")
    add("-k", dest="pattern", help="only benchmarks whose names match, as in pytest")


def run(args: argparse.Namespace) -> int:
    """The status of pytest."""
    done = subprocess.run(command(args), cwd=_FOLDER.parent, check=False)
    if done.returncode == _NOTHING_COLLECTED:
        raise NothingMeasured("no benchmark has a name that matches")
    return done.returncode


def command(args: argparse.Namespace) -> list[str]:
    """pytest's command line."""
    files = (
        ["test_stages.py"] if args.stages or args.quick else ["test_latency.py", "test_stages.py"]
    )
    words = [sys.executable, "-m", "pytest", "--benchmark-only", "--benchmark-columns",
             "min,median,mean,stddev,rounds"]  # fmt: skip
    words += [str(_FOLDER / name) for name in files]
    if args.save:
        words.append("--benchmark-autosave")
    if args.compare:
        words.append("--benchmark-compare")
    if args.output:
        words += ["--benchmark-json", str(args.output.resolve())]
    pattern = args.pattern or ("vad or encode" if args.quick else None)
    return words + (["-k", pattern] if pattern else [])


class NothingMeasured(AntiphonError):
    code = "nothing_measured"
