"""Where a server's time goes while it is measured: py-spy, from outside, without stopping it."""

from __future__ import annotations

import collections
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load.profiles import Window

_RATE_HZ = 100
_KEPT = 25
NATIVE = "native threads"


@dataclass(slots=True)
class Profiled:
    """A profile that is being made, and its outcome when it was."""

    process: subprocess.Popen[str]
    file: Path
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
        one = Profiled(process, file)
        before = thread_times(pid)
        try:
            yield one
            after = thread_times(pid)
            said, _ = process.communicate(timeout=60)
            if file.is_file():
                raw = file.read_text()
                one.outcome = parse(raw) | {"cpu_s": by_name(before, after, raw)}
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


def parse(raw: str) -> dict[str, Any]:
    """``raw`` has a line for each stack: frames joined by ``;`` and how often it was seen."""
    threads: collections.Counter[str] = collections.Counter()
    own: collections.Counter[str] = collections.Counter()
    total = 0
    for line in raw.splitlines():
        stack, _, seen = line.rpartition(" ")
        frames = stack.split(";")
        thread = frames[0] if frames[0].startswith("thread") else "main"
        threads[thread] += int(seen)
        own[f"{thread.partition(': ')[2] or thread}: {frames[-1]}"] += int(seen)
        total += int(seen)
    return {
        "samples": total,
        "rate_hz": _RATE_HZ,
        "threads": _shares(threads, total),
        "own": _shares(own, total),
    }


def _shares(counter: collections.Counter[str], total: int) -> list[dict[str, Any]]:
    return [
        {"where": _anonymous(where), "share": seen / total}
        for where, seen in counter.most_common(_KEPT)
    ]


def _anonymous(where: str) -> str:
    """Thread numbers and paths say nothing on another machine."""
    head, opening, rest = where.partition(" (/")
    return f"{head} (…/{rest.rsplit('/', 1)[-1]}" if opening else head
