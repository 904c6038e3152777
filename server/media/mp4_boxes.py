"""Boxes, of which MP4 consists (ISO/IEC 14496-12 §4.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from engine.errors import AudioError

MAX_HEAD_BYTES = 16


@dataclass(frozen=True, slots=True)
class BoxHead:
    """``size`` of the body in bytes, ``None`` where it goes on to the end of the file."""

    type: bytes
    size: int | None
    length: int


def damaged(what: str) -> AudioError:
    return AudioError(f"the MP4 recording is damaged: {what}")


def read_head(data: bytes, at: int = 0) -> BoxHead | None:
    """The box's head at ``at``, ``None`` while it is incomplete; ``AudioError`` if impossible."""
    if len(data) < at + 8:
        return None
    size, kind = struct.unpack_from(">I4s", data, at)
    length = 8
    if size == 1:
        length = 16
        if len(data) < at + length:
            return None
        (size,) = struct.unpack_from(">Q", data, at + 8)
    if size == 0:
        return BoxHead(kind, None, length)
    if size < length or not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in kind):
        raise damaged(f"a box of type {kind!r} and {size} bytes")
    return BoxHead(kind, size - length, length)


def children(body: bytes, at: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """The (type, body) of each box from ``at`` on; ``AudioError`` if one overruns ``body``."""
    while at + 8 <= len(body):
        head = read_head(body, at)
        end = len(body) if head is None or head.size is None else at + head.length + head.size
        if head is None or end > len(body):
            raise damaged("a box overruns its parent")
        yield head.type, body[at + head.length : end]
        at = end


def find(body: bytes, *path: bytes) -> bytes | None:
    """The body of the first box at ``path``, or ``None``."""
    for kind in path:
        found = next((inner for name, inner in children(body) if name == kind), None)
        if found is None:
            return None
        body = found
    return body


def unpack(layout: str, body: bytes, at: int = 0) -> tuple[int, ...]:
    """``struct.unpack_from``, big-endian; ``AudioError`` where ``body`` is too short."""
    try:
        return struct.unpack_from(">" + layout, body, at)
    except struct.error as error:
        raise damaged("a box is too short") from error
