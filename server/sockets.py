"""The server's side of one TCP connection, and how many of them are open as WebSockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from websockets.asyncio.server import ServerConnection


class TimedConnection(ServerConnection):
    """Knows when its TCP connection was made, so that the handshake can be timed, and tells when
    it is lost."""

    made_at = 0.0
    is_lost = False
    on_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made_at = time.monotonic()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.is_lost = True
        if self.on_lost is not None:
            self.on_lost()


class OpenSockets:
    """Counts from the moment at which the handshake is accepted until TCP's connection is gone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[ServerConnection] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        return len(self._open) >= self._limit

    def add(self, connection: TimedConnection) -> None:
        """Count ``connection``, unless it is gone: on uvloop a client that closes at once is lost
        before its handshake is processed."""
        if connection.is_lost:
            return
        self._open.add(connection)
        connection.on_lost = partial(self._open.discard, connection)
