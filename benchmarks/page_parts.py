"""Cells, tables, pictures and provenance, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import plots

NOT_MEASURED = "*Not measured yet: `make bench` writes this part.*"
Result = dict[str, Any]
Runs = Sequence[dict[str, Any]]


class Pictures:
    """A folder of plots; each is named, and comes back as a Markdown image."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, svg: str, says: str) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{name}.svg").write_text(plots.standalone(svg), "utf-8")
        return f"![{says}](benchmarks/{name}.svg)"


def ordered(runs: Runs) -> list[dict[str, Any]]:
    """By the number of sessions."""
    return sorted(runs, key=lambda run: int(run["load"]["sessions"]))


def dig(value: Any, *path: str) -> float | None:
    """A figure inside a result; None where there is none."""
    for name in path:
        if not isinstance(value, dict) or value.get(name) is None:
            return None
        value = value[name]
    return float(value)


def cell(run: Any, digits: int, *path: str) -> str:
    value = dig(run, *path)
    return "—" if value is None else f"{value:,.{digits}f}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_escape(text) for text in line) + " |" for line in lines)


def measured_at(result: Result) -> str:
    """Date, machine and versions of a result."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"*{machine['date']}; {machine['device']}, {machine['cores']} cores, "
        f"load {machine['load_average_1_min']:g} before it began; Python {machine['python']}, "
        f"{versions}.*"
    )


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
