"""How much of a reply is made before anybody has asked for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from engine.types import AssumedAfter, GenerateRequest


@dataclass(frozen=True, slots=True)
class Early:
    """This request may come soon; ``idle``: speech recognition has nothing to do meanwhile."""

    request: GenerateRequest
    after: AssumedAfter = "pause"
    idle: bool = True


@dataclass(frozen=True, slots=True)
class Withdraw:
    """It will not come."""

    key: int
    turn_id: int


class Level(IntEnum):
    """``PREFILL``: the prompt is computed, so that the model's cache holds it when it is asked."""

    NOTHING = 0
    PREFILL = 1
    BEGIN = 2


def level(slots: int, running: int, waiting: bool, idle: bool, after: AssumedAfter) -> Level:
    """What the load leaves room for.

    A prompt that is computed early is seldom computed in vain, because what is said next only
    adds to it. A reply often is: it is begun only while speech recognition is ``idle`` and less
    than half of the slots are in use, where it slows down nobody much; after a sentence, when more
    is said more often than not, only where no reply runs at all. Who waits goes first.
    """
    if waiting or running >= slots:
        return Level.NOTHING
    room = not running if after == "sentence" else 2 * running < slots
    return Level.BEGIN if idle and room else Level.PREFILL
