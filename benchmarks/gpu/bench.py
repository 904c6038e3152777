"""What a part is told, and how it tells what it found."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

log = logging.getLogger(__name__)

Row = dict[str, Any]
Write = Callable[[dict[str, Any]], None]


class Skipped(Exception):
    """A part cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Bench:
    """``device``: ``cuda`` or ``cpu``. ``quick``: least sizes, to see that everything runs."""

    device: str
    quick: bool = False
    models: tuple[str, ...] = ("large-v3-turbo", "base")
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    most_speakers: int = 4096
    target_p95_s: float = 0.25
    window_s: float = 15.0
    llm_model: str | None = None

    @property
    def compute_type(self) -> Literal["float16", "float32"]:
        return "float16" if self.device == "cuda" else "float32"

    @property
    def seconds(self) -> float:
        """Spent on one figure, where a call is timed again and again."""
        return 0.01 if self.quick else 0.2

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Bench:
        given: dict[str, Any] = json.loads(text)
        fields: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        return cls(**fields)


@dataclass(slots=True)
class Record:
    """What one part found, written anew after each row."""

    write: Write
    rows: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.save()

    def fact(self, name: str, value: Any) -> None:
        """Something about the whole part."""
        self.facts[name] = value
        self.save()

    def save(self) -> None:
        self.write({**self.facts, "rows": self.rows})

    def attempt(self, row: Row, measure: Callable[[], Row]) -> bool:
        """Add ``row`` with what was measured, or with the error; False then.

        An error that has spoilt the device ends the part: every later figure would be one too.
        """
        try:
            self.add(row | measure())
            return True
        except Exception as error:
            log.exception("%s", row)
            self.add(row | {"error": said(error)})
            if "CUDA error" in str(error):
                raise
            return False


def said(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:400]


def wait_for(device: str) -> None:
    """Until the device has done all that it was given."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def timed_ms(device: str, work: Callable[[], object]) -> float:
    """Wall-clock time of one call, the device's queue empty before and after."""
    wait_for(device)
    begun = time.perf_counter()
    work()
    wait_for(device)
    return (time.perf_counter() - begun) * 1e3
