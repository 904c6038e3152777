"""The messages that travel between the server, the lanes and the models.

All are frozen. Everything that can go stale carries ``(key, turn_id)``: ``key`` names one
opening of one session and is never used twice, so a late result cannot reach a slot's next
tenant; ``turn_id`` counts a session's segments from 0 in the order in which they end.
Audio is mono float32 in [-1, 1] at ``SAMPLE_RATE``; times are seconds of the session's clock, which
counts the samples that its client sent since it was opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000

Pcm = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a session asks of the speech lane. ``language=None`` means: detect it, among
    ``languages`` where any are named.

    ``prompt`` is text as it might have come before, ``hotwords`` are names and terms to expect,
    as one string.
    """

    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str = ""
    hotwords: str = ""
    task: Literal["transcribe", "translate"] = "transcribe"
    endpointing: Literal["client", "server"] = "client"
    partials: bool = False
    words: bool = False


# ---- commands: server -> speech lane -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenSlot:
    key: int
    options: SessionOptions


@dataclass(frozen=True, slots=True)
class AudioChunk:
    key: int
    pcm: Pcm


@dataclass(frozen=True, slots=True)
class EndSegment:
    """The client says that its segment is over."""

    key: int


@dataclass(frozen=True, slots=True)
class Cancel:
    key: int
    turn_id: int


@dataclass(frozen=True, slots=True)
class CloseSlot:
    key: int


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it was said, in seconds of the audio since the session was opened."""

    text: str
    start_s: float
    end_s: float


# ---- events: lanes -> server ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AudioConsumed:
    """The lane took ``samples`` of a session's audio off its inbox (flow control)."""

    key: int
    samples: int


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """VAD heard speech begin, ``at_s`` seconds into the session's audio."""

    key: int
    turn_id: int
    at_s: float


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    key: int
    turn_id: int
    at_s: float


@dataclass(frozen=True, slots=True)
class SegmentEnded:
    """With server endpointing, VAD ended a segment by itself."""

    key: int
    turn_id: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """Words of a turn. ``text[:stable_chars]`` will not change in later transcripts of it.

    A final transcript with an empty ``text`` means that there was no speech. A final one holds
    ``words`` where the session asked for them.
    """

    key: int
    turn_id: int
    text: str
    stable_chars: int
    is_final: bool
    language: str | None = None
    words: tuple[Word, ...] = ()


AssumedAfter = Literal["pause", "sentence"]


@dataclass(frozen=True, slots=True)
class Assumed:
    """``text`` will be the turn's final transcript if nothing more is said.

    So it seems ``after`` a pause, or, before that, after what ends like a finished sentence.
    Empty: what was assumed before holds no longer.
    """

    key: int
    turn_id: int
    text: str
    after: AssumedAfter = "pause"


@dataclass(frozen=True, slots=True)
class Failure:
    """A turn cannot go on; ``code`` is one of ``engine.errors``.

    ``retry_after_ms`` says when another try makes sense, where that is known.
    """

    key: int
    turn_id: int
    code: str
    message: str
    retry_after_ms: int | None = None


# ---- the language model --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    ``temperature`` 0 always takes the likeliest; ``top_p`` keeps the likeliest tokens that
    together have that probability; a reply ends before any of ``stop``; with the same ``seed``
    (``None``: a new one each time) the same request gets the same reply, as far as the backend can.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Answer ``messages`` (oldest first; the last is the user's)."""

    key: int
    turn_id: int
    messages: tuple[Message, ...]
    max_tokens: int
    sampling: Sampling = Sampling()


@dataclass(frozen=True, slots=True)
class ResponseDelta:
    """The next piece of a reply. ``finish_reason`` is set on the last one of a turn only."""

    key: int
    turn_id: int
    text: str
    finish_reason: Literal["stop", "length", "cancelled"] | None = None


LlmEvent = ResponseDelta | Failure
SpeechCommand = OpenSlot | AudioChunk | EndSegment | Cancel | CloseSlot
Event = (
    AudioConsumed
    | SpeechStarted
    | SpeechStopped
    | SegmentEnded
    | Transcript
    | Assumed
    | Failure
    | ResponseDelta
)
