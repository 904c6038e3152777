"""``antiphon demo``: models, a server, and a spoken question put to it, in one command.

Every part runs as a user would run it (``antiphon models pull``, ``serve``, ``talk``), so
settings from the environment reach each of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from server import talk
from server.process import ServerFailed, ServerProcess

QUESTION = Path(__file__).parent / "assets" / "question.wav"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        default=QUESTION,
        metavar="FILE",
        help="a recording to send instead of the question that comes along",
    )
    parser.add_argument(
        "--start-timeout",
        type=float,
        default=180.0,
        metavar="SECONDS",
        help="longest wait for the server to be ready (default: %(default)g)",
    )


def run(args: argparse.Namespace) -> int:
    """0 if the question was answered without an error."""
    pulled = subprocess.run([sys.executable, "-m", "server.cli", "models", "pull"], check=False)
    if pulled.returncode != 0:
        return pulled.returncode
    console = Console(highlight=False)
    try:
        with ServerProcess() as server:
            _start(server, console, args.start_timeout)
            return _ask(server, args.file)
    except ServerFailed as error:
        print(f"antiphon demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _start(server: ServerProcess, console: Console, timeout_s: float) -> None:
    began = time.perf_counter()
    console.print("Starting the server: loading the speech and language models …")
    with console.status("loading"):
        server.start(timeout_s=timeout_s)
    seconds = time.perf_counter() - began
    console.print(f"It listens on {server.url} after {seconds:.1f} s.\n", style="dim")


def _ask(server: ServerProcess, file: Path) -> int:
    parser = argparse.ArgumentParser()
    talk.add_arguments(parser)
    status = talk.run(parser.parse_args([str(file), "--url", server.ws_url]))
    if status != 0:
        print(f"The end of the server's log:\n{server.log_tail}", file=sys.stderr)
    return status
