"""One planned session, held with WhisperLive through its own protocol.

WhisperLive has no message that ends a segment and none that says "this is final": it sends the
text so far after every pass. Each utterance therefore has a connection of its own, and its final
text is the last one that changed. A pass that began after the end of speech has heard everything,
so the utterance is over once three messages in a row after the end of speech have the same text,
or when ``SETTLE_S`` have passed. That lets WhisperLive leave at the first moment at which its text
was right, before it could have said so itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from benchmarks.load.encodings import Piece
from benchmarks.load.pacing import Clock, speak
from benchmarks.load.records import SessionPlan, SessionRecord, TurnPlan, TurnRecord

SETTLE_S = 10.0
_SAME_MESSAGES = 3
_READY_TIMEOUT_S = 10.0


@dataclass(slots=True)
class _Listening:
    """What one utterance's connection has said since its speech ended."""

    speech_ended: bool = False
    same: int = 0


class WhisperLiveTalker:
    """The same interface and record as ``benchmarks.load.talker.Talker``."""

    def __init__(
        self,
        url: str,
        token: str | None,
        plan: SessionPlan,
        speech: Sequence[Sequence[Piece]],
        clock: Clock,
        until_s: float,
    ) -> None:
        assert token is None, "it knows no tokens"
        assert plan.encoding == "pcm", "WhisperLive takes raw samples only"
        assert all(turn.start_s is not None for turn in plan.turns), "it never answers"
        self._url, self._plan, self._speech = url, plan, speech
        self._clock, self._until_s = clock, until_s
        self.record = SessionRecord(plan.number)

    async def run(self) -> None:
        await self._clock.until(self._plan.opens_at_s)
        self.record.opened_s = self._clock.now_s()
        try:
            async with asyncio.TaskGroup() as tasks:
                for plan, pieces in zip(self._plan.turns, self._speech, strict=True):
                    assert plan.start_s is not None
                    if plan.start_s < self._until_s:
                        tasks.create_task(self._say(plan, pieces))
        finally:
            self.record.closed_s = self._clock.now_s()

    async def _say(self, plan: TurnPlan, pieces: Sequence[Piece]) -> None:
        assert plan.start_s is not None
        await self._clock.until(plan.start_s - 0.5)
        end_s = plan.start_s + pieces[-1][0]
        turn = TurnRecord(len(self.record.turns), plan.clip, plan.start_s, end_s)
        self.record.turns.append(turn)
        try:
            async with connect(self._url, compression=None, proxy=None) as socket:
                await self._open(socket)
                await self._hold(socket, turn, pieces)
        except (OSError, WebSocketException, TimeoutError) as error:
            turn.error_code = "connection"
            self.record.errors.append(f"connection: {type(error).__name__}: {error}")
        except Refused as refused:
            turn.error_code = "overloaded"
            self.record.errors.append(f"overloaded: {refused}")

    async def _open(self, socket: ClientConnection) -> None:
        began_s = self._clock.now_s()
        hello = {"uid": uuid4().hex, "language": self._plan.language, "task": "transcribe",
                 "model": "base", "use_vad": True}  # fmt: skip
        await socket.send(json.dumps(hello))
        async with asyncio.timeout(_READY_TIMEOUT_S):
            answer = json.loads(await socket.recv())
        if answer.get("message") != "SERVER_READY":
            raise Refused(json.dumps(answer))
        if self.record.handshake_ms is None:
            self.record.handshake_ms = (self._clock.now_s() - began_s) * 1e3

    async def _hold(
        self, socket: ClientConnection, turn: TurnRecord, pieces: Sequence[Piece]
    ) -> None:
        listening = _Listening()

        async def send(due_s: float, piece: bytes) -> None:
            samples = np.frombuffer(piece, "<i2").astype(np.float32) / 32768
            await socket.send(samples.tobytes())
            self.record.send_late_ms.append((self._clock.now_s() - due_s) * 1e3)

        async def speak_and_settle() -> None:
            await speak(self._clock, turn.start_s, pieces, send)
            turn.sent = listening.speech_ended = True
            await asyncio.sleep(SETTLE_S)

        speaking = asyncio.create_task(speak_and_settle())
        hearing = asyncio.create_task(self._hear(socket, turn, listening))
        try:
            done, _ = await asyncio.wait({speaking, hearing}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            speaking.cancel()
            hearing.cancel()
        if turn.last_change_s is not None:
            turn.final_s = max(turn.last_change_s, turn.speech_end_s)
            turn.finals = turn.processed = 1

    async def _hear(
        self, socket: ClientConnection, turn: TurnRecord, listening: _Listening
    ) -> None:
        """Returns when the utterance is over."""
        while listening.same < _SAME_MESSAGES:
            try:
                message = json.loads(await socket.recv())
            except ConnectionClosed as closed:
                raise Refused("closed in the middle of an utterance") from closed
            if "segments" in message:
                self._take(turn, listening, message["segments"])

    def _take(
        self, turn: TurnRecord, listening: _Listening, segments: list[dict[str, str]]
    ) -> None:
        now_s = self._clock.now_s()
        text = " ".join(str(segment["text"]).strip() for segment in segments)
        turn.first_partial_s = turn.first_partial_s or now_s
        if text != turn.text:
            turn.text, turn.last_change_s, listening.same = text, now_s, 0
            turn.partials += 1
        if listening.speech_ended:
            listening.same += 1


class Refused(Exception):
    """WhisperLive would not take, or keep, an utterance."""
