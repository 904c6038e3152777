"""The ``antiphon`` command: which subcommand, and what its outcome means as an exit status.

Status: 0 it worked, 1 it failed, 2 it was asked wrongly (usage or settings), 130 interrupted.
A subcommand is a module with ``add_arguments(parser)`` and ``run(args) -> status``; it is
imported only when asked for, so that ``--help`` needs none of the libraries.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from importlib import import_module, metadata

from engine.errors import AntiphonError, ConfigError

_COMMANDS = {
    "serve": ("server.serve_command", "serve conversations over WebSocket until interrupted"),
    "talk": ("server.talk", "stream a recording to a server and show the conversation"),
    "demo": ("server.demo", "start a server, ask it a spoken question, show the answer"),
    "doctor": ("server.doctor_command", "check this machine, and say what to do"),
    "models": ("server.models_command", "list, pull and verify the embedded models"),
    "bench": ("server.bench_command", "measure a server (in a checkout of the project)"),
    "config": ("server.config_command", "print the settings that `serve` would use"),
}
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if not word.startswith("-")), None)
    parser, subparser = _parsers(chosen)
    args, unknown = parser.parse_known_args(words)
    if unknown:
        (subparser or parser).error(_about(unknown[0], subparser or parser))
    if args.command is None:
        parser.print_help()
        return 2
    try:
        return int(import_module(_COMMANDS[args.command][0]).run(args))
    except AntiphonError as error:
        print(f"antiphon: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parsers(
    chosen: str | None,
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser | None]:
    """The command's parser, and that of the chosen subcommand, the only one with arguments."""
    parser = argparse.ArgumentParser(
        prog="antiphon",
        description="A streaming speech conversation engine: many people talk at once, "
        "and each is heard and answered.",
        epilog="`antiphon COMMAND --help` tells more.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="print the version and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    found = None
    for name, (module, summary) in _COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name == chosen:
            import_module(module).add_arguments(subparser)
            found = subparser
    return parser, found


class _Version(argparse.Action):
    """Looks the version up only when asked."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"antiphon {metadata.version('antiphon')}")
        parser.exit()


def _about(word: str, parser: argparse.ArgumentParser) -> str:
    known = re.findall(r"--[a-z][a-z-]*", parser.format_help())
    near = difflib.get_close_matches(word.partition("=")[0], known, n=1)
    return f"unknown argument {word}" + (f"; did you mean {near[0]}?" if near else "")


if __name__ == "__main__":
    sys.exit(main())
