"""The messages of ``/ws/audio`` as types; docs/PROTOCOL.md describes them with examples.

A server message's fields are its JSON fields, in order; a field that is ``None`` is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

AudioFormat = Literal["auto", "pcm_s16le", "pcm_f32le", "mulaw", "alaw"]
Endpointing = Literal["client", "server"]
Task = Literal["transcribe", "translate"]

# ---- client -> server ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """Open (or re-open) a session. ``None`` means: the server's default; ``languages``, where
    any are named, are those to choose among where ``language`` is not given."""

    session_id: str
    events: frozenset[str] = frozenset()
    language: str | None = None
    languages: tuple[str, ...] = ()
    task: Task = "transcribe"
    prompt: str = ""
    hotwords: str = ""
    system: str | None = None
    endpointing: Endpointing = "client"
    audio_format: AudioFormat = "auto"
    sample_rate: int = 16_000
    channels: int = 1
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    barge_in: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AudioText:
    """A piece of base64; only all the pieces of a segment together need to decode."""

    data: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AudioBytes:
    """A binary frame: audio without base64."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CancelReply:
    """``turn``: which one is meant; None: see ``Session.cancel``."""

    turn: int | None = None
    warnings: tuple[str, ...] = ()


ClientMessage = SessionRequest | AudioText | AudioBytes | SegmentEnd | CancelReply

# ---- server -> client ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionAck:
    type: ClassVar[str] = "session_ack"
    session_id: str
    warnings: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ChunkReceived:
    type: ClassVar[str] = "chunk_received"


@dataclass(frozen=True, slots=True)
class ChatbotResponse:
    """The answer to one segment.

    ``turn``, ``error_code`` and ``retry_after_ms`` go only to clients that opted in;
    ``warnings`` are about unknown fields in the client's messages since the last answer.
    """

    type: ClassVar[str] = "chatbot_response"
    transcription: str
    response: str
    backend_used: str
    error: str | None = None
    cancelled: bool | None = None
    turn: int | None = None
    error_code: str | None = None
    retry_after_ms: int | None = None
    timings: dict[str, float] | None = None
    warnings: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class SegmentProcessed:
    type: ClassVar[str] = "segment_processed"
    turn: int | None = None


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    type: ClassVar[str] = "error"
    code: str
    message: str
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SpeechStartedMessage:
    """``at_s``: seconds into the audio of this opening of the session."""

    type: ClassVar[str] = "speech_started"
    turn: int
    at_s: float


@dataclass(frozen=True, slots=True)
class SpeechStoppedMessage:
    type: ClassVar[str] = "speech_stopped"
    turn: int
    at_s: float


@dataclass(frozen=True, slots=True)
class PartialTranscription:
    """Words so far; ``text[:stable_chars]`` will not change."""

    type: ClassVar[str] = "partial_transcription"
    turn: int
    text: str
    stable_chars: int


@dataclass(frozen=True, slots=True)
class Transcription:
    """The final words of a turn, before its reply begins; ``words`` if they were asked for."""

    type: ClassVar[str] = "transcription"
    turn: int
    text: str
    language: str | None = None
    words: list[dict[str, object]] | None = None


@dataclass(frozen=True, slots=True)
class ResponsePiece:
    """The next piece of a reply; the pieces joined are the ``response``."""

    type: ClassVar[str] = "response_delta"
    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class ResponseSentence:
    """The next sentence of a reply, whole; the sentences joined are the ``response``."""

    type: ClassVar[str] = "response_sentence"
    turn: int
    index: int
    text: str


ServerMessage = (
    SessionAck
    | ChunkReceived
    | ChatbotResponse
    | SegmentProcessed
    | ErrorMessage
    | SpeechStartedMessage
    | SpeechStoppedMessage
    | PartialTranscription
    | Transcription
    | ResponsePiece
    | ResponseSentence
)
