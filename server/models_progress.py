"""What a pull shows: a bar on a terminal, else one line for each step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress as rich_progress
from rich.console import Console

from engine.models import Progress


@contextmanager
def show_progress(console: Console) -> Iterator[Progress]:
    """The display that suits the console, for one pull or check."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, label: str, total_bytes: int | None) -> None:
        self._console.print(label)

    def advance(self, done_bytes: int, total_bytes: int | None = None) -> None:
        pass


class _Bar:
    def __init__(self, bar: rich_progress.Progress) -> None:
        self._bar = bar
        self._task: rich_progress.TaskID | None = None

    def step(self, label: str, total_bytes: int | None) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(label, total=total_bytes)

    def advance(self, done_bytes: int, total_bytes: int | None = None) -> None:
        assert self._task is not None
        self._bar.update(self._task, completed=done_bytes, total=total_bytes)
