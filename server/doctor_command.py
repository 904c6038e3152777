"""``antiphon doctor``: can this machine serve these settings, and if not, what to do."""

from __future__ import annotations

import argparse
import errno
import json
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.processor import restrict
from server import serve_command
from server.audio_file import read_pcm
from server.config import Settings
from server.demo import QUESTION
from server.serve_command import given
from server.sources import load

if TYPE_CHECKING:
    from engine.doctor.finding import Finding
    from engine.types import Pcm

_CHECK_WIDTH = len("language model")
_EXPECTED_WORD = "france"  # of the question "What is the capital of France?"
_MARKS = {
    "ok": ("✓", "green"),
    "note": ("·", "dim"),
    "warning": ("!", "yellow"),
    "failure": ("✗", "bold red"),
}
_EPILOG = """\
Takes the settings of `antiphon serve` from the same places, and checks those. Ends with
status 1 if something is wrong that keeps the server from serving them.

  antiphon doctor --device cuda
  antiphon doctor --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    serve_command.add_arguments(parser)
    parser.usage = f"{parser.prog} [--json] [--config FILE] [--SETTING VALUE ...]"
    parser.epilog = _EPILOG
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """0 if nothing is wrong that would keep `serve` from working; warnings do not count."""
    settings = load(given(args), os.environ)
    restrict(settings.isa)
    findings = _print_json(settings) if args.json else _print_lines(settings)
    return 1 if any(finding.status == "failure" for finding in findings) else 0


def _print_json(settings: Settings) -> list[Finding]:
    findings = list(examine(settings))
    print(json.dumps(report(findings), indent=2))
    return findings


def _print_lines(settings: Settings) -> list[Finding]:
    console = Console(highlight=False)
    findings = []
    with console.status("checking"):
        for finding in examine(settings):
            _show(console, finding)
            findings.append(finding)
    console.print(f"\n{summary(findings)}")
    return findings


def examine(settings: Settings) -> Iterator[Finding]:
    """Every finding as it is made: facts first, then what takes seconds."""
    from engine.doctor.checks import check_machine
    from engine.doctor.machine import examine as look
    from engine.doctor.models import check_models
    from engine.doctor.trials import attempt, hear, judge_reply, judge_speech, reply

    yield from check_machine(look(), settings.device, settings.asr)
    yield check_port(settings.host, settings.port)
    yield from check_models(settings)
    yield judge_speech(attempt(hear, settings, _question()), _EXPECTED_WORD)
    yield judge_reply(attempt(reply, settings))


def check_port(host: str, port: int) -> Finding:
    """Whether a server could listen there now."""
    from engine.doctor.finding import failure, ok

    where = f"{host}:{port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        advice = "choose another with --host and --port"
        if error.errno == errno.EADDRINUSE:
            advice = "end the program that listens there, or choose another with --port"
        return failure("port", f"cannot listen on {where}: {error.strerror or error}", advice)
    return ok("port", f"{where} is free")


def report(findings: Sequence[Finding]) -> dict[str, object]:
    """What ``--json`` prints."""
    worst = any(finding.status == "failure" for finding in findings)
    return {"ok": not worst, "findings": [asdict(finding) for finding in findings]}


def summary(findings: Sequence[Finding]) -> str:
    failures = sum(finding.status == "failure" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    if not failures and not warnings:
        return "Everything is well."
    counts = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((failures, "failure"), (warnings, "warning"))
        if count
    ]
    return " and ".join(counts) + ("." if failures else ": it will serve.")


def _question() -> Pcm:
    samples = np.frombuffer(b"".join(read_pcm(QUESTION)), dtype="<i2")
    return samples.astype(np.float32) / np.float32(32768)


def _show(console: Console, finding: Finding) -> None:
    mark, style = _MARKS[finding.status]
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(width=_CHECK_WIDTH)
    grid.add_column()
    detail = Text(finding.detail, style="dim" if finding.status == "note" else "")
    grid.add_row(Text(mark, style), Text(finding.check, "bold"), detail)
    if finding.advice:
        grid.add_row("", "", Text.assemble(("→ ", "cyan"), finding.advice))
    console.print(grid)
