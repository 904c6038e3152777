"""Where a server's time goes while it is measured: py-spy, from outside, without stopping it."""

from __future__ import annotations

import collections
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load.profiles import Window

_RATE_HZ = 100
_KEPT = 8
NATIVE = "native threads"
EVENT_LOOP = "MainThread"


@dataclass(slots=True)
class Profiled:
    """A profile that is being made; its outcome is there when the context is left."""

    outcome: dict[str, Any] | None = None

    def result(self) -> dict[str, Any]:
        assert self.outcome is not None
        return self.outcome


@contextlib.contextmanager
def profiled(pid: int, window: Window) -> Iterator[Profiled]:
    """Sample the process's Python threads, native calls included as the line that makes them."""
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or "py-spy"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "profile.txt"
        seconds = int(window.until_s)
        process = subprocess.Popen(
            [program, "record", "--pid", str(pid), "--duration", str(seconds), "--threads",
             "--format", "raw", "--rate", str(_RATE_HZ), "--nonblocking", "--output", str(file)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        one = Profiled()
        before, began = thread_times(pid), time.monotonic()
        try:
            yield one
            after, took_s = thread_times(pid), time.monotonic() - began
            said, _ = process.communicate(timeout=60)
            if file.is_file():
                raw = file.read_text()
                one.outcome = outcome(raw, by_name(before, after, raw), took_s)
            else:
                one.outcome = {"error": said[-500:]}
        finally:
            process.kill()
            process.wait()


def thread_times(pid: int) -> dict[int, float]:
    """Processor seconds of each thread so far, by the system's number for it."""
    threads = psutil.Process(pid).threads()
    return {one.id: one.user_time + one.system_time for one in threads}


def by_name(before: dict[int, float], after: dict[int, float], raw: str) -> dict[str, float]:
    """Processor seconds between, by Python's name of each thread. Those that Python does not know
    belong to the libraries: CTranslate2, OpenMP, llama.cpp."""
    names = {int(number): name for number, name in re.findall(r"^thread \((\d+)\): ([^;]*)", raw,
                                                              re.MULTILINE)}  # fmt: skip
    found: dict[str, float] = collections.defaultdict(float)
    for number, total_s in after.items():
        found[names.get(number, NATIVE)] += total_s - before.get(number, 0.0)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def outcome(raw: str, cpu_s: dict[str, float], took_s: float) -> dict[str, Any]:
    """A row for each thread: its share of one core, and the lines that it was seen in."""
    seen = lines_of(raw)
    return {
        "samples": sum(sum(lines.values()) for lines in seen.values()),
        "rate_hz": _RATE_HZ,
        "threads": [
            {"name": name, "cores": used_s / took_s, "lines": _shares(seen[name])}
            for name, used_s in cpu_s.items()
        ],
    }


def lines_of(raw: str) -> dict[str, collections.Counter[str]]:
    """How often each thread was seen in each line of Python, calls into native code included.

    ``raw`` has a line for each stack: frames joined by ``;`` and how often it was seen.
    """
    seen: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for line in raw.splitlines():
        stack, _, times = line.rpartition(" ")
        frames = stack.split(";")
        seen[frames[0].partition(": ")[2] or EVENT_LOOP][frames[-1]] += int(times)
    return seen


def _shares(lines: collections.Counter[str]) -> list[dict[str, Any]]:
    total = lines.total()
    return [
        {"where": _anonymous(where), "share": times / total}
        for where, times in lines.most_common(_KEPT)
    ]


def _anonymous(where: str) -> str:
    """Thread numbers and paths say nothing on another machine."""
    head, opening, rest = where.partition(" (/")
    return f"{head} (…/{rest.rsplit('/', 1)[-1]}" if opening else head
