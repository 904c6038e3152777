"""What a client knows about one turn: its words so far, and when each stage was passed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from server.client import Message


@dataclass(slots=True)
class Turn:
    """Fed with what was sent and received, each with its time in seconds of one clock."""

    handshake_ms: float
    hearing: bool = False
    partial: str = ""
    stable_chars: int = 0
    transcript: str | None = None
    reply: str = ""
    result: Message | None = None
    audio_began: float | None = None
    segment_ended: float | None = None
    acks_ms: list[float] = field(default_factory=list)
    _unacknowledged: deque[float] = field(default_factory=deque)
    _first: dict[str, float] = field(default_factory=dict)

    def audio_sent(self, now: float) -> None:
        if self.audio_began is None:
            self.audio_began = now
        self._unacknowledged.append(now)

    def end_sent(self, now: float) -> None:
        self.segment_ended = now

    def take(self, message: Message, now: float) -> None:
        """Note a message of the server."""
        kind = str(message.get("type"))
        self._first.setdefault(kind, now)
        match kind:
            case "chunk_received" if self._unacknowledged:
                self.acks_ms.append((now - self._unacknowledged.popleft()) * 1e3)
            case "speech_started" | "speech_stopped":
                self.hearing = kind == "speech_started"
            case "partial_transcription":
                self.partial = str(message.get("text", ""))
                self.stable_chars = int(message.get("stable_chars", 0))
            case "transcription":
                self.transcript = str(message.get("text", ""))
            case "response_delta":
                self.reply += str(message.get("text", ""))
            case "chatbot_response":
                self.result = message
                self.transcript = str(message.get("transcription", ""))
                self.reply = str(message.get("response", ""))

    def latencies(self) -> Iterator[tuple[str, float, float | None]]:
        """Each stage that was passed, its milliseconds here, and by the server's own clock."""
        yield "handshake (connect to session_ack)", self.handshake_ms, None
        if self.acks_ms:
            yield "chunk acknowledged, p50", percentile(self.acks_ms, 50), None
            yield "chunk acknowledged, p99", percentile(self.acks_ms, 99), None
        stages = (
            ("first sound → first partial", self.audio_began, "partial_transcription", ""),
            ("end of turn → final transcript", self.segment_ended, "transcription", "asr"),
            ("end of turn → first token", self.segment_ended, "response_delta", "first_token"),
            ("end of turn → reply complete", self.segment_ended, "chatbot_response", "total"),
        )
        by_server = (self.result or {}).get("timings", {})
        for name, since, kind, key in stages:
            if since is not None and kind in self._first:
                yield name, (self._first[kind] - since) * 1e3, by_server.get(key)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of ``values`` do not exceed (nearest rank)."""
    assert values
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]
