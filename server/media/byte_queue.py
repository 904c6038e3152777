"""Bytes that have arrived and are not parsed yet."""

from __future__ import annotations


class ByteQueue:
    """A first-in, first-out buffer for incremental parsers.

    It holds what its parser has not taken, so a parser that bounds what it waits for bounds
    the memory. ``skip`` costs none, however far it goes.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0  # of the bytes in _buffer that are not taken
        self._to_skip = 0
        self.position = 0  # of the byte that is to be taken next, counted from the very first

    def __len__(self) -> int:
        return len(self._buffer) - self._start

    def append(self, data: bytes) -> None:
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        self._buffer += data[skipped:] if skipped else data

    def peek(self, count: int, offset: int = 0) -> bytes:
        """Up to ``count`` bytes from ``offset``, which stay."""
        start = self._start + offset
        return bytes(self._buffer[start : start + count])

    def take(self, count: int) -> bytes | None:
        """Exactly ``count`` bytes, or ``None`` while they have not all arrived."""
        if len(self) < count:
            return None
        return self.take_up_to(count)

    def take_up_to(self, count: int) -> bytes:
        taken = self.peek(count)
        self._start += len(taken)
        self.position += len(taken)
        return taken

    def skip(self, count: int) -> None:
        """Drop the next ``count`` bytes, also those that have not arrived yet."""
        here = min(count, len(self))
        self._start += here
        self.position += count
        self._to_skip += count - here
