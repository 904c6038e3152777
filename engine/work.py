"""What a step of a slot asks of the lane."""

from __future__ import annotations

from dataclasses import dataclass

from engine.asr.backend import AsrJob
from engine.types import Event


@dataclass(slots=True)
class Work:
    """``events`` for the session, a job to ``submit``, and one that waits to ``promote``."""

    events: list[Event]
    submit: AsrJob | None = None
    promote: AsrJob | None = None
