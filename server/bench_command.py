"""``antiphon bench``: measure a server. The tools lie beside the packages in a checkout only."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from engine.errors import AntiphonError

_CHECKOUT = Path(__file__).parent.parent
_COMMANDS = {
    "latency": ("benchmarks.load.latency_command", "each stage and the whole turn, one session"),
    "load": ("benchmarks.load.load_command", "many conversations at once against any server"),
    "compare": ("benchmarks.peers.compare_command", "this server and its peers, side by side"),
}


class BenchmarksMissing(AntiphonError):
    """The benchmarks, or the packages that they need, are not here."""

    code = "benchmarks_missing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    problem = _why_missing()
    if problem:
        parser.epilog = problem
        parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
        return
    commands = parser.add_subparsers(dest="bench", metavar="WHAT", required=True)
    for name, (module, summary) in _COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=summary,
            description=f"Measure {summary}.",
            allow_abbrev=False,
        )
        _module(module).add_arguments(subparser)


def run(args: argparse.Namespace) -> int:
    problem = _why_missing()
    if problem:
        raise BenchmarksMissing(problem)
    status: int = _module(_COMMANDS[args.bench][0]).run(args)
    return status


def _why_missing() -> str:
    """What is missing and how to get it; empty if nothing is."""
    if not (_CHECKOUT / "benchmarks" / "load").is_dir():
        return (
            "`antiphon bench` needs the folder benchmarks/, which is not part of the installed "
            "package: run it in a checkout of the project (`make setup`, then "
            "`.venv/bin/antiphon bench …`)."
        )
    try:
        for module, _ in _COMMANDS.values():
            _module(module)
    except ModuleNotFoundError as error:
        return (
            f"`antiphon bench` needs the package {error.name}: install the development "
            "dependencies (`make setup`, or `pip install -e '.[dev]'`)."
        )
    return ""


def _module(name: str) -> ModuleType:
    if str(_CHECKOUT) not in sys.path:
        sys.path.insert(0, str(_CHECKOUT))
    return import_module(name)
