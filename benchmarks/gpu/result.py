"""The file of results: parts that are measured at different times on one device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Result = dict[str, Any]
SAME = ("device", "type", "quick")
"""What must be the same for parts to stand in one file."""


class OtherMachine(Exception):
    """The file is of another device; or one is of a quick run, and the other is not."""


def read(path: Path) -> Result:
    """A result without parts where there is none."""
    if not path.is_file():
        return {"kind": "gpu", "machine": {}, "parts": {}}
    found: Result = json.loads(path.read_text("utf-8"))
    return found


def add(result: Result, name: str, part: Result) -> None:
    """Put a part in its place. Raises ``OtherMachine`` if it does not belong to the others.

    part: ``status`` (measured, failed or skipped), ``machine`` where it ran, ``rows``.
    """
    machine = part.get("machine")
    if machine:
        known = result["machine"] = result["machine"] or {key: machine[key] for key in SAME}
        for key in SAME:
            if known[key] != machine[key]:
                raise OtherMachine(
                    f"the file is of {key} {known[key]!r} and this is {machine[key]!r}: "
                    "name another --out"
                )
    result["parts"][name] = part


def write(result: Result, path: Path) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(_lines(result) + "\n", "utf-8")
    unfinished.replace(path)


def _lines(value: Any, indent: str = "") -> str:
    """JSON with a line for each row: short, and still good to compare."""
    inner = indent + " "
    if isinstance(value, dict) and any(isinstance(one, dict | list) for one in value.values()):
        items = [f"{inner}{json.dumps(key)}: {_lines(one, inner)}" for key, one in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        rows = [inner + json.dumps(one, ensure_ascii=False) for one in value]
        return "[\n" + ",\n".join(rows) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)
