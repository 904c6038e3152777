"""One planned session, held with a server that speaks docs/PROTOCOL.md."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from benchmarks.load.encodings import Piece
from benchmarks.load.pacing import Clock, speak
from benchmarks.load.records import SessionPlan, SessionRecord, TurnPlan, TurnRecord
from engine.types import SAMPLE_RATE
from server.client import Client, ClientError, Message

EVENTS = ["partial", "transcript", "token"]
_REPLY_PAUSE_S = 0.3
"""A person hears that the reply has ended before going on."""
_LINGER_S = 0.5
"""After the last answer, for messages that should not come."""
_PCM: dict[str, object] = {"format": "pcm_s16le", "sample_rate": SAMPLE_RATE}
_RAW: dict[str, dict[str, object]] = {
    "pcm": _PCM,
    "base64": _PCM,
    "mulaw": {"format": "mulaw", "sample_rate": 8_000},
}


class Talker:
    """Speaks one plan and keeps its record, whatever becomes of the server."""

    def __init__(
        self,
        url: str,
        token: str | None,
        plan: SessionPlan,
        speech: Sequence[Sequence[Piece]],
        clock: Clock,
        until_s: float,
    ) -> None:
        """``speech[i]`` are the pieces of the plan's turn ``i``; no turn begins after ``until_s``,
        and no answer is waited for after the task is cancelled."""
        self._url, self._token, self._plan, self._speech = url, token, plan, speech
        self._clock, self._until_s = clock, until_s
        self._awaiting_ack: deque[float] = deque()
        self._answered = asyncio.Event()
        self._client: Client | None = None
        self.record = SessionRecord(plan.number)

    async def run(self) -> None:
        """Returns when all was said and answered, or the server failed, or it was time to go."""
        await self._clock.until(self._plan.opens_at_s)
        began_s = self._clock.now_s()
        try:
            self._client = await self._connect()
        except ClientError as error:
            self.record.refused_ms = 1e3 * (self._clock.now_s() - began_s)
            self.record.errors.append(f"handshake: {error}")
            return
        self.record.opened_s = self._clock.now_s()
        self.record.handshake_ms = self._client.handshake_ms
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen())
                try:
                    async with asyncio.timeout(self._time_left_s()):
                        await self._speak_all()
                        await self._all_answered()
                        await asyncio.sleep(_LINGER_S)
                except TimeoutError:
                    self.record.dropped = True
                listening.cancel()
        except* ClientError as errors:
            self.record.errors.extend(f"connection: {error}" for error in errors.exceptions)
        finally:
            self._leave()
        if not self.record.dropped:
            await self._client.close()

    async def _connect(self) -> Client:
        return await Client.connect(
            self._url,
            token=self._token,
            events=EVENTS,
            language=self._plan.language,
            audio=_RAW.get(self._plan.encoding),
        )

    def _time_left_s(self) -> float | None:
        leaves_s = self._plan.leaves_at_s
        return None if leaves_s is None else max(0.0, leaves_s - self._clock.now_s())

    def _leave(self) -> None:
        now_s = self._clock.now_s()
        self.record.closed_s = now_s
        self.record.unacked_s = [now_s - due_s for due_s in self._awaiting_ack]
        task = asyncio.current_task()
        if self.record.dropped or (task is not None and task.cancelling()):
            self._client_.abort()

    async def _speak_all(self) -> None:
        free_s = self._clock.now_s()
        for plan, pieces in zip(self._plan.turns, self._speech, strict=True):
            start_s, held_s = await self._begin(plan, free_s)
            if start_s >= self._until_s:
                return
            free_s = start_s + pieces[-1][0]
            turn = TurnRecord(len(self.record.turns), plan.clip, start_s, free_s, held_s)
            turn.noisy = plan.noise_db is not None
            self.record.turns.append(turn)
            await speak(self._clock, start_s, pieces, self._send)
            await self._client_.end_segment()
            turn.sent = True

    async def _begin(self, plan: TurnPlan, free_s: float) -> tuple[float, float]:
        """When the next turn begins, and how much later than it would have without the wait."""
        if plan.start_s is not None:
            return plan.start_s, 0.0
        wish_s = free_s + plan.pause_s
        await self._all_answered()
        start_s = max(wish_s, self._clock.now_s() + _REPLY_PAUSE_S) if self.record.turns else wish_s
        return start_s, start_s - wish_s

    async def _all_answered(self) -> None:
        while any(not turn.processed for turn in self.record.turns):
            self._answered.clear()
            await self._answered.wait()

    async def _send(self, due_s: float, piece: bytes) -> None:
        self._awaiting_ack.append(due_s)
        self.record.chunks += 1
        base64 = self._plan.encoding == "base64"
        await self._client_.send_audio(piece, base64=base64)
        self.record.send_late_ms.append((self._clock.now_s() - due_s) * 1e3)

    @property
    def _client_(self) -> Client:
        assert self._client is not None
        return self._client

    async def _listen(self) -> None:
        async for message in self._client_:
            self.hear(message, self._clock.now_s())

    def hear(self, message: Message, now_s: float) -> None:
        """Keep what came; nothing is believed of the server, least of all order and number."""
        kind = message.get("type")
        if kind == "chunk_received":
            if self._awaiting_ack:
                due_s = self._awaiting_ack.popleft()
                self.record.acks_ms.append((now_s - due_s) * 1e3)
            else:
                self.record.unexpected.append("chunk_received without a chunk")
        elif kind == "error":
            self.record.errors.append(f"{message.get('code')}: {message.get('message')}")
        else:
            turn = self._turn_of(message)
            if turn is None or not _take(turn, message, now_s):
                self.record.unexpected.append(f"{kind} of turn {message.get('turn')}")
            elif turn.processed:
                self._answered.set()

    def _turn_of(self, message: Message) -> TurnRecord | None:
        number = message.get("turn")
        if isinstance(number, int) and 0 <= number < len(self.record.turns):
            return self.record.turns[number]
        return None


def _take(turn: TurnRecord, message: Message, now_s: float) -> bool:
    """False if this is no message of a turn."""
    text = str(message.get("text", ""))
    match message.get("type"):
        case "partial_transcription":
            turn.partials += 1
            if turn.first_partial_s is None:
                turn.first_partial_s = now_s
            _keep_text(turn, text, now_s)
        case "transcription":
            turn.finals += 1
            turn.final_s = turn.final_s or now_s
            _keep_text(turn, text, now_s)
        case "response_delta":
            turn.first_token_s = turn.first_token_s or now_s
            turn.deltas += text
        case "chatbot_response":
            turn.responses += 1
            turn.response_s = turn.response_s or now_s
            turn.response = str(message.get("response", ""))
            turn.answer_text = str(message.get("transcription", ""))
            turn.error_code = message.get("error_code", turn.error_code)
        case "segment_processed":
            turn.processed += 1
            turn.processed_s = turn.processed_s or now_s
        case _:
            return False
    return True


def _keep_text(turn: TurnRecord, text: str, now_s: float) -> None:
    if text != turn.text:
        turn.text, turn.last_change_s = text, now_s
