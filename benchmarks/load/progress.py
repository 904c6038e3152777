"""A run while it runs: one line that is redrawn, or a line now and then where none can be."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from benchmarks.load import worker
from benchmarks.load.run import Load

_PLAIN_EVERY_S = 10.0


class RunProgress:
    """A context; ``show`` is what ``fleet.hold`` calls."""

    def __init__(self, console: Console, load: Load, what: str) -> None:
        self._console, self._load, self._what = console, load, what
        self._plain_next_s = _PLAIN_EVERY_S
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=load.window.until_s, state="starting clients")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, now_s: float, progress: list[worker.Progress]) -> None:
        state = describe(progress)
        self._bar.update(self._task, completed=min(now_s, self._load.window.until_s), state=state)
        if not self._console.is_terminal and now_s >= self._plain_next_s:
            self._plain_next_s += _PLAIN_EVERY_S
            self._console.print(f"{self._what}  {now_s:4.0f} s  {state}", highlight=False)


def describe(progress: list[worker.Progress]) -> str:
    """``16 open, 40 of 44 turns answered, final text p50 0.31 s, p95 0.55 s``"""
    latencies = [value for one in progress for value in one.latencies_s]
    words = [
        f"{sum(one.open for one in progress)} open",
        f"{sum(one.answered for one in progress)} of {sum(one.turns for one in progress)} "
        "turns answered",
    ]
    if latencies:
        p50, p95 = np.percentile(latencies, [50, 95])
        words.append(f"final text p50 {p50:.2f} s, p95 {p95:.2f} s")
    errors = sum(one.errors for one in progress)
    return ", ".join(words + ([f"{errors} errors"] if errors else []))
