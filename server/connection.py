"""One WebSocket: a receive loop and a send loop, which own the socket and its outbox.

The receive loop reads nothing more while the client is ahead: while too much of its audio waits
for the engine, too many of its segments are not answered, or it does not read what it is sent.
TCP then pushes back. The send loop closes a client that reads nothing for too long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from engine.errors import AntiphonError, Overloaded
from engine.metrics import ERRORS, STAGE_SECONDS
from engine.types import (
    SAMPLE_RATE,
    AudioConsumed,
    Event,
    GenerateRequest,
    Sampling,
    SessionOptions,
)
from server.config import Settings
from server.hub import Hub
from server.intake import Intake
from server.media.stream import Declared, Decoded
from server.messages import (
    AudioBytes,
    AudioText,
    CancelReply,
    ChunkReceived,
    ErrorMessage,
    SegmentEnd,
    ServerMessage,
    SessionAck,
    SessionRequest,
)
from server.metrics import AUDIO_BYTES, OUTBOX_DEPTH
from server.outbox import Outbox
from server.protocol import MessageLimits, ProtocolError, encode, parse
from server.session import (
    Anticipate,
    CancelTurn,
    Effect,
    EndSegment,
    Generate,
    Observe,
    Report,
    Send,
    Session,
    SessionPolicy,
    Withdraw,
)

CLOSE_GOING_AWAY = 1001
CLOSE_INTERNAL = 1011
CLOSE_TRY_AGAIN_LATER = 1013
CLOSE_TAKEN_OVER = 4001

log = logging.getLogger("antiphon.connection")

_CHUNK_ACK = STAGE_SECONDS.labels("chunk_ack")


@dataclass(slots=True)
class _Opened:
    """The session that this connection has open."""

    session_id: str
    session: Session
    intake: Intake
    samples_out: int = 0  # fed to the engine and not yet consumed


class Connection:
    """Carries messages between one socket and its session, until either ends."""

    def __init__(self, socket: ServerConnection, hub: Hub) -> None:
        assert hub.engine is not None, "connections are accepted when the engine is ready"
        self._socket = socket
        self._hub = hub
        self._engine = hub.engine
        self._settings = settings = hub.settings
        self._limits = MessageLimits(
            max_prompt_chars=settings.max_prompt_chars,
            max_system_chars=settings.max_system_chars,
            max_tokens=settings.llm_max_tokens,
            max_temperature=settings.max_temperature,
            max_stops=settings.max_stops,
            max_stop_chars=settings.max_stop_chars,
        )
        self._outbox = Outbox(settings.outbox_messages)
        self._opened: _Opened | None = None
        self._who = f"connection from {socket.remote_address}"
        self._closing: tuple[int, str] | None = None
        self._draining = False
        self._may_have_room = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Serve the socket until it is closed."""
        log.info("%s opened", self._who)
        self._hub.enter(self)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive())
                tasks.create_task(self._send())
                await self._socket.wait_closed()
                self._stop(CLOSE_GOING_AWAY, "")  # wakes whichever loop still waits
        finally:
            OUTBOX_DEPTH.dec(len(self._outbox))
            self._release()
            self._hub.leave(self)

    # ---- the two loops -------------------------------------------------------------------

    async def _receive(self) -> None:
        try:
            while True:
                frame = await self._socket.recv()
                if self._closing is None:
                    await self._take(frame, time.monotonic())
                    await self._wait_for_room()
        except ConnectionClosed as closed:
            log.info("%s disconnected: %s", self._who, closed)

    async def _send(self) -> None:
        try:
            while (item := await self._outbox.get()) is not None:
                OUTBOX_DEPTH.dec()
                message, queued_at = item
                async with asyncio.timeout(self._settings.stall_timeout_s):
                    await self._socket.send(encode(message))
                if isinstance(message, ChunkReceived):
                    _CHUNK_ACK.observe(time.monotonic() - queued_at)
                self._may_have_room.set()
            if self._closing is not None:
                await self._socket.close(*self._closing)
        except TimeoutError:
            ERRORS.labels("stalled").inc()
            log.warning("%s read nothing for too long: dropped", self._who)
            self._socket.transport.abort()
        except ConnectionClosed:
            pass  # the receive loop sees it too, and logs it

    async def _wait_for_room(self) -> None:
        while not self._has_room():
            self._may_have_room.clear()
            await self._may_have_room.wait()

    def _has_room(self) -> bool:
        if self._closing is not None:
            return True
        if self._outbox.full:
            return False
        opened = self._opened
        return opened is None or (
            opened.samples_out <= self._settings.max_buffered_s * SAMPLE_RATE
            and opened.session.pending < self._settings.max_pending_turns
        )

    # ---- what the client says ------------------------------------------------------------

    async def _take(self, frame: str | bytes, now: float) -> None:
        try:
            message = parse(frame, self._limits)
        except ProtocolError as error:
            self._refuse(error.code, str(error))
            return
        opened = self._opened
        match message:
            case SessionRequest():
                self._open(message)
            case _ if opened is None:
                self._refuse("session_required", 'Send a "session" message first.')
            case AudioText() | AudioBytes():
                await self._hear(opened, message, now)
            case SegmentEnd():
                for decoded in opened.intake.end_segment():
                    self._feed(opened, decoded)
                self._carry_out(opened.session.segment_end(now))
            case CancelReply():
                self._carry_out(opened.session.cancel(now))

    def _open(self, request: SessionRequest) -> None:
        if self._opened is not None and self._opened.session.pending:
            self._refuse("busy", "A segment is not answered yet: wait, or cancel it.")
            return
        self._release()
        options = SessionOptions(
            language=request.language,
            languages=request.languages,
            task=request.task,
            prompt=request.prompt,
            hotwords=request.hotwords,
            endpointing=request.endpointing,
            partials="partial" in request.events,
            words="words" in request.events,
        )
        try:
            key, conversation = self._hub.claim(request.session_id, options, self)
        except Overloaded as error:
            self._refuse(error.code, str(error), error.retry_after_ms)
            self._stop(CLOSE_TRY_AGAIN_LATER, str(error))
            return
        session = Session(key, self._policy(request), conversation)
        intake = Intake(Declared(request.audio_format, request.sample_rate))
        self._opened = _Opened(request.session_id, session, intake)
        # Whoever knows an id can take the conversation over, so the log holds only its beginning.
        self._who = f"session {request.session_id[:8]!r}"
        self._put(SessionAck(request.session_id, request.warnings or None))
        log.info("%s opened (%d earlier turns)", self._who, len(conversation))

    def _policy(self, request: SessionRequest) -> SessionPolicy:
        settings = self._settings
        return SessionPolicy(
            llm_name=self._engine.llm_name,
            system=settings.system if request.system is None else request.system,
            max_tokens=request.max_tokens or settings.llm_max_tokens,
            sampling=_sampling(request, settings),
            segment_timeout_s=settings.segment_timeout_s,
            llm_timeout_s=settings.llm_timeout_s,
            events=request.events,
            barge_in=request.barge_in,
        )

    async def _hear(self, opened: _Opened, chunk: AudioText | AudioBytes, now: float) -> None:
        AUDIO_BYTES.inc(len(chunk.data))
        self._put(ChunkReceived(), now)
        await asyncio.sleep(0)  # the acknowledgement goes out before the audio is decoded
        decoded = await opened.intake.take(chunk)
        if self._opened is opened:  # not taken over meanwhile
            self._feed(opened, decoded)

    def _feed(self, opened: _Opened, decoded: Decoded) -> None:
        if decoded.pcm.size:
            opened.samples_out += decoded.pcm.size
            self._engine.feed(opened.session.key, decoded.pcm)
        if decoded.error is not None:
            ERRORS.labels(decoded.error.code).inc()
            self._carry_out(opened.session.audio_failed(str(decoded.error)))

    # ---- what the session wants done -----------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Take an event of this connection's session (from the hub, on the event loop)."""
        opened = self._opened
        assert opened is not None, "the hub knows a key only while its session is open"
        if isinstance(event, AudioConsumed):
            opened.samples_out -= event.samples
            self._may_have_room.set()
        else:
            self._carry_out(opened.session.event(event, time.monotonic()))

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        opened = self._opened
        assert opened is not None
        key = opened.session.key
        for effect in effects:
            match effect:
                case Send(message):
                    self._put(message)
                case EndSegment():
                    self._engine.end_segment(key)
                case CancelTurn(turn_id):
                    self._engine.cancel(key, turn_id)
                case Generate(request):
                    self._generate(opened.session, request)
                case Anticipate(request, after):
                    self._engine.anticipate(request, after)
                case Withdraw(turn_id):
                    self._engine.withdraw(key, turn_id)
                case Observe(stage, seconds):
                    STAGE_SECONDS.labels(stage).observe(seconds)
                case Report(turn_id, code, text):
                    ERRORS.labels(code).inc()
                    log.info("%s turn %d: %s: %s", self._who, turn_id, code, text)
        self._may_have_room.set()
        self._set_timer(opened.session)
        self._close_if_drained()

    def _generate(self, session: Session, request: GenerateRequest) -> None:
        try:
            self._engine.generate(request)
        except AntiphonError as error:
            now = time.monotonic()
            self._carry_out(session.generate_refused(request.turn_id, error.code, str(error), now))

    def _set_timer(self, session: Session) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if session.deadline is not None:
            delay_s = max(0.0, session.deadline - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        if self._opened is not None:
            self._carry_out(self._opened.session.tick(time.monotonic()))

    def _put(self, message: ServerMessage, now: float | None = None) -> None:
        before = len(self._outbox)
        self._outbox.put(message, time.monotonic() if now is None else now)
        OUTBOX_DEPTH.inc(len(self._outbox) - before)

    def _refuse(self, code: str, text: str, retry_after_ms: int | None = None) -> None:
        ERRORS.labels(code).inc()
        log.info("%s: %s: %s", self._who, code, text)
        self._put(ErrorMessage(code, text, retry_after_ms))

    # ---- the end -------------------------------------------------------------------------

    def displace(self) -> None:
        """A newer connection takes the session: release it at once, then close the socket."""
        log.info("%s taken over by a newer connection", self._who)
        self._release()
        self._stop(CLOSE_TAKEN_OVER, "a newer connection has taken over this session")

    def drain(self) -> None:
        self._draining = True
        self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._draining and not (self._opened and self._opened.session.pending):
            self._stop(CLOSE_GOING_AWAY, "the server is stopping")

    def _stop(self, code: int, reason: str) -> None:
        """Close the socket once the outbox has been sent; what comes in is ignored."""
        if self._closing is None:
            self._closing = (code, reason[:100])
        self._outbox.close()
        self._may_have_room.set()

    def _release(self) -> None:
        opened, self._opened = self._opened, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if opened is not None:
            opened.session.abandon()
            conversation = opened.session.conversation
            self._hub.release(opened.session_id, opened.session.key, conversation)


def _sampling(request: SessionRequest, settings: Settings) -> Sampling:
    """What the session asks for, and the server's own where it asks for nothing."""
    return Sampling(
        temperature=_or(request.temperature, settings.llm_temperature),
        top_p=_or(request.top_p, settings.llm_top_p),
        stop=request.stop,
        seed=request.seed,
    )


def _or(asked: float | None, default: float) -> float:
    return default if asked is None else asked
