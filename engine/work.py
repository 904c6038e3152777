"""What a step of a slot asks of the lanes: events to deliver, orders for the speech model."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.asr.backend import AsrJob
from engine.types import Event


@dataclass(frozen=True, slots=True)
class Submit:
    job: AsrJob


@dataclass(frozen=True, slots=True)
class Promote:
    """Nothing was said since this guess: it is decoded as a final, wherever it is by now."""

    job: AsrJob


@dataclass(frozen=True, slots=True)
class CancelJobs:
    """Forget a turn's jobs; all of the session's with ``turn_id=None``."""

    key: int
    turn_id: int | None


AsrCommand = Submit | Promote | CancelJobs


@dataclass(slots=True)
class Work:
    """``orders`` are carried out in order: only a slot commands the speech model about itself."""

    events: list[Event] = field(default_factory=list)
    orders: list[AsrCommand] = field(default_factory=list)

    @property
    def submitted(self) -> AsrJob | None:
        """The job that this step submits, if it does; it submits one at most."""
        return next((order.job for order in self.orders if isinstance(order, Submit)), None)
