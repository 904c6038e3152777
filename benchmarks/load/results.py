"""Result files: JSON that says what was asked, where, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.load import machine

RESULTS = Path(__file__).parent.parent / "results"


def start(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The beginning of a result: its ``runs`` are added as they are made."""
    return {"kind": kind, "machine": machine.describe(), "settings": settings, "runs": []}


def write(result: dict[str, Any], path: Path) -> None:
    """Whole or not at all, so that a run that is interrupted leaves what it had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(_rounded(result), indent=1, ensure_ascii=False) + "\n", "utf-8")
    part.replace(path)


def read(path: Path) -> dict[str, Any] | None:
    """None where nothing was measured."""
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _rounded(value: Any) -> Any:
    """Four decimals: more is not measured."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
