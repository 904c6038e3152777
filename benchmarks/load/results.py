"""Result files: JSON that says what was asked, where, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import machine

RESULTS = Path(__file__).parent.parent / "results"


def head(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The beginning of every result."""
    return {"kind": kind, "machine": machine.describe(), "settings": settings}


def start(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The beginning of a result whose ``runs`` are added as they are made."""
    return head(kind, settings) | {"runs": []}


def write(result: dict[str, Any], path: Path) -> None:
    """Whole or not at all, so that a run that is interrupted leaves what it had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(_lines(_rounded(result)), "utf-8")
    part.replace(path)


def read(path: Path) -> dict[str, Any] | None:
    """None where nothing was measured."""
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _lines(result: dict[str, Any]) -> str:
    """JSON with a line for each run and each other part: short, and still good to compare."""

    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    parts = []
    for key, value in result.items():
        if isinstance(value, list) and value:
            inside = ",\n  ".join(dump(item) for item in value)
            parts.append(f"{dump(key)}: [\n  {inside}\n ]")
        else:
            parts.append(f"{dump(key)}: {dump(value)}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def _rounded(value: Any) -> Any:
    """Four decimals: more is not measured."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
