"""How a pull tells what it is doing; who shows it decides how."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of each step of a pull, from the thread that pulls."""

    def step(self, label: str, total_bytes: int | None) -> None:
        """A new step begins; the one before it is over. ``None``: its size is not known yet."""
        ...

    def advance(self, done_bytes: int, total_bytes: int | None = None) -> None:
        """So much of the step is done."""
        ...


class Silent:
    """Shows nothing."""

    def step(self, label: str, total_bytes: int | None) -> None:
        pass

    def advance(self, done_bytes: int, total_bytes: int | None = None) -> None:
        pass
