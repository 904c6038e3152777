"""One turn of a conversation, from a segment's end to its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from server.sentences import Sentences


class Stage(Enum):
    """How far a turn has come. The last two, and ``HEARD``, wait for the turns before them."""

    LISTENING = auto()
    HEARD = auto()
    REPLYING = auto()
    FAILED = auto()
    CANCELLED = auto()


@dataclass(slots=True)
class Turn:
    """Times are seconds of the session's clock; ``deadline`` is that of the present stage."""

    turn_id: int
    ended_at: float
    deadline: float | None
    undecodable: str | None = None  # why some of its audio could not be decoded
    decoded: bool = False  # some of its audio could
    stage: Stage = Stage.LISTENING
    text: str = ""
    pieces: list[str] = field(default_factory=list)
    error_code: str | None = None
    error: str | None = None
    retry_after_ms: int | None = None
    heard_at: float | None = None
    first_token_at: float | None = None
    sentences: Sentences = field(default_factory=Sentences)
    sentence_count: int = 0

    @property
    def response(self) -> str:
        return "".join(self.pieces)

    def fail(self, code: str, message: str, retry_after_ms: int | None = None) -> None:
        self.stage, self.deadline = Stage.FAILED, None
        self.error_code, self.error, self.retry_after_ms = code, message, retry_after_ms

    def cancel(self) -> None:
        self.stage, self.deadline = Stage.CANCELLED, None

    def timings(self, now: float) -> dict[str, float]:
        """Milliseconds from the segment's end to each stage that was reached."""
        stages = {"asr": self.heard_at, "first_token": self.first_token_at, "total": now}
        return {
            name: round((at - self.ended_at) * 1000, 1)
            for name, at in stages.items()
            if at is not None
        }
