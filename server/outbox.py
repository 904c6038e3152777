"""Messages on their way to one socket: bounded, coalescing, and never losing text."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace

from server.messages import PartialTranscription, ResponsePiece, ServerMessage


class Outbox:
    """A queue with one reader.

    ``put`` never waits: whoever produces messages looks at ``full`` and stops reading its own
    input meanwhile. Pieces of one reply are joined while they wait, and a newer partial
    transcript replaces an older one of the same turn.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: OrderedDict[int, tuple[ServerMessage, float]] = OrderedDict()
        self._count = 0
        self._mergeable: dict[tuple[type, int], int] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._capacity

    def put(self, message: ServerMessage, now: float) -> None:
        """Append ``message`` (after ``close``: drop it, there is nobody to read it)."""
        if self._closed:
            return
        if isinstance(message, ResponsePiece | PartialTranscription):
            self._merge(message, now)
        else:
            self._append(message, now)
        self._changed.set()

    def close(self) -> None:
        """No more messages; the reader gets what is left, then None."""
        self._closed = True
        self._changed.set()

    async def get(self) -> tuple[ServerMessage, float] | None:
        """The next message and when it was put; None once closed and empty."""
        while not self._waiting:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        seq, (message, at) = self._waiting.popitem(last=False)
        if isinstance(message, ResponsePiece | PartialTranscription):
            key = (type(message), message.turn)
            if self._mergeable.get(key) == seq:
                del self._mergeable[key]
        return message, at

    def _append(self, message: ServerMessage, now: float) -> int:
        self._count += 1
        self._waiting[self._count] = (message, now)
        return self._count

    def _merge(self, message: ResponsePiece | PartialTranscription, now: float) -> None:
        key = (type(message), message.turn)
        seq = self._mergeable.get(key)
        if seq is None:
            self._mergeable[key] = self._append(message, now)
        elif isinstance(message, PartialTranscription):
            del self._waiting[seq]
            self._mergeable[key] = self._append(message, now)
        else:
            earlier, at = self._waiting[seq]
            assert isinstance(earlier, ResponsePiece)
            self._waiting[seq] = (replace(earlier, text=earlier.text + message.text), at)
