"""The protocol of docs/PROTOCOL.md from the client's side: one conversation on one socket."""

from __future__ import annotations

import asyncio
import base64 as b64
import json
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from engine.errors import AntiphonError

Message = dict[str, Any]

_HANDSHAKE_TIMEOUT_S = 10.0


class ClientError(AntiphonError):
    """A conversation could not be begun, or ended early; the text says what to do."""

    code = "client"


class Client:
    """One conversation with a server.

    ``async for message in client`` yields every message as a dict, in order, until ``close`` is
    called; it raises ``ClientError`` if the server closes the connection first. Use as an async
    context manager, or call ``close``.
    """

    def __init__(self, socket: ClientConnection, ack: Message, handshake_ms: float) -> None:
        self._socket = socket
        self._closing = False
        self.ack = ack
        self.session_id = str(ack["session_id"])
        self.handshake_ms = handshake_ms

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        session_id: str | None = None,
        token: str | None = None,
        **options: object,
    ) -> Client:
        """Open a socket and a session on it.

        ``options`` are the optional fields of the ``session`` message (``events``, ``language``,
        ``audio``, …); those that are None are left out. Raises ``ClientError``.
        """
        began = time.perf_counter()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        hello: Message = {"type": "session", "session_id": session_id or uuid4().hex}
        hello |= {name: value for name, value in options.items() if value is not None}
        try:
            socket = await ws_connect(
                url,
                additional_headers=headers,
                compression=None,
                max_size=None,
                open_timeout=_HANDSHAKE_TIMEOUT_S,
                proxy=None,
            )
        except (OSError, WebSocketException) as error:
            raise ClientError(_why_refused(url, error)) from error
        try:
            ack = await _open_session(socket, hello)
        except TimeoutError as error:
            await socket.close()
            raise ClientError(_why_refused(url, error)) from error
        except ClientError:
            await socket.close()
            raise
        return cls(socket, ack, (time.perf_counter() - began) * 1e3)

    async def send_audio(self, audio: bytes, *, base64: bool = False) -> None:
        """Send a piece of a recording: a binary frame, or an ``audio_chunk`` with base64."""
        if base64:
            await self.send({"type": "audio_chunk", "data": b64.b64encode(audio).decode()})
        else:
            await self._send(audio)

    async def end_segment(self) -> None:
        """Say that the turn is over: its ``chatbot_response`` follows."""
        await self.send({"type": "segment_end"})

    async def cancel(self, turn: int | None = None) -> None:
        """Stop the reply to ``turn``; None: the oldest reply in flight.

        The number keeps a cancel that comes too late from stopping the next turn.
        """
        await self.send({"type": "cancel"} | ({} if turn is None else {"turn": turn}))

    async def send(self, message: Message) -> None:
        """Send any message of the protocol."""
        await self._send(json.dumps(message))

    async def close(self) -> None:
        self._closing = True
        await self._socket.close()

    def abort(self) -> None:
        """Cut the connection off without goodbye, as a network that fails does."""
        self._closing = True
        self._socket.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[Message]:
        try:
            while True:
                yield _parse(await self._socket.recv())
        except ConnectionClosed as error:
            if not self._closing:
                raise ClientError(_why_closed(error)) from error

    async def _send(self, data: str | bytes) -> None:
        try:
            await self._socket.send(data)
        except ConnectionClosed as error:
            raise ClientError(_why_closed(error)) from error


async def _open_session(socket: ClientConnection, hello: Message) -> Message:
    try:
        async with asyncio.timeout(_HANDSHAKE_TIMEOUT_S):
            await socket.send(json.dumps(hello))
            ack = _parse(await socket.recv())
    except ConnectionClosed as error:
        raise ClientError(_why_closed(error)) from error
    if ack.get("type") != "session_ack":
        raise ClientError(_why_no_session(ack))
    return ack


def _parse(data: str | bytes) -> Message:
    try:
        message = json.loads(data)
    except ValueError as error:
        raise ClientError("The server sent something that is not JSON.") from error
    if not isinstance(message, dict):
        raise ClientError("The server sent JSON that is not an object.")
    return message


def _why_refused(url: str, error: Exception) -> str:
    if isinstance(error, InvalidURI):
        return f"{url} is not a WebSocket address; it should look like ws://HOST:PORT/ws/audio."
    if isinstance(error, InvalidStatus):
        return _why_status(url, error.response.status_code)
    if isinstance(error, WebSocketException):
        return f"{url} does not speak WebSocket ({error})."
    if isinstance(error, TimeoutError):
        return f"{url} did not answer within {_HANDSHAKE_TIMEOUT_S:.0f} s."
    return f"No server answers at {url}. Start one with `antiphon serve`, or give --url. ({error})"


def _why_status(url: str, status: int) -> str:
    if status in (401, 403):
        return f"{url} refused this client (HTTP {status}). Give the server's --token."
    if status == 404:
        return f"{url} has no such path (HTTP 404); Antiphon listens at /ws/audio."
    if status == 503:
        return f"{url} is not ready or is full (HTTP 503). Try again in a moment."
    return f"{url} refused the connection (HTTP {status})."


def _why_no_session(answer: Message) -> str:
    text = str(answer.get("message") or answer)
    if answer.get("code") != "overloaded":
        return f"The server refused the session: {text}"
    wait_ms = answer.get("retry_after_ms")
    hint = f" Try again in {wait_ms / 1e3:.0f} s." if isinstance(wait_ms, int | float) else ""
    return f"The server is full: {text}{hint}"


def _why_closed(error: ConnectionClosed) -> str:
    if error.rcvd is None:
        return "The connection to the server was lost. Is it still running?"
    reason = f": {error.rcvd.reason}" if error.rcvd.reason else ""
    return f"The server closed the connection ({error.rcvd.code}{reason})."
