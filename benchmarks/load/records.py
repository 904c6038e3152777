"""What is planned and what happened, as plain data that goes between processes and into JSON.

All times are seconds since the run's epoch unless a name says otherwise; ``None`` is "never".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Encoding = Literal["pcm", "base64", "wav", "webm", "mulaw"]
Leaving = Literal["goodbye", "drop"]


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """One utterance. With ``start_s`` it begins then, whatever the server does; without, it
    begins ``pause_s`` after the last one ended, but not before that was answered."""

    clip: int
    start_s: float | None = None
    pause_s: float = 0.0
    noise_db: float | None = None
    """Signal-to-noise ratio of white noise to add."""


@dataclass(frozen=True, slots=True)
class SessionPlan:
    number: int
    opens_at_s: float
    turns: tuple[TurnPlan, ...]
    encoding: Encoding = "pcm"
    language: str | None = "en"
    leaving: Leaving = "goodbye"
    leaves_at_s: float | None = None
    """When a session that drops is cut off, in the middle of whatever it does."""


@dataclass(slots=True)
class TurnRecord:
    """One utterance as it was sent and answered."""

    number: int
    clip: int
    start_s: float
    speech_end_s: float
    """When its last sample was due, which is also when ``segment_end`` was."""
    held_s: float = 0.0
    """How much later than planned it began because the turn before was not answered."""
    noisy: bool = False
    """Noise was added, which the model alone has not heard."""
    sent: bool = False
    partials: int = 0
    first_partial_s: float | None = None
    last_change_s: float | None = None
    final_s: float | None = None
    first_token_s: float | None = None
    response_s: float | None = None
    processed_s: float | None = None
    text: str = ""
    answer_text: str | None = None
    """The transcription that came along with the answer."""
    finals: int = 0
    responses: int = 0
    processed: int = 0
    deltas: str = ""
    response: str = ""
    error_code: str | None = None


@dataclass(slots=True)
class SessionRecord:
    number: int
    opened_s: float | None = None
    closed_s: float | None = None
    handshake_ms: float | None = None
    refused_ms: float | None = None
    """From the beginning of the connection until the server had told that it would not do."""
    dropped: bool = False
    """It left without goodbye, on purpose."""
    chunks: int = 0
    acks_ms: list[float] = field(default_factory=list)
    """From the moment a chunk was due to its acknowledgement."""
    unacked_s: list[float] = field(default_factory=list)
    """Ages of the chunks still not acknowledged at the end."""
    send_late_ms: list[float] = field(default_factory=list)
    """How long after it was due each chunk was taken by the socket: the generator's own fault,
    or a server that does not read."""
    turns: list[TurnRecord] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


@dataclass(slots=True)
class WorkerRecord:
    """What one client process did and cost."""

    sessions: list[SessionRecord]
    cpu_s: float
    wall_s: float
    memory_mb: float
