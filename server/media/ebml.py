"""EBML, the encoding of Matroska and WebM (RFC 8794)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from engine.errors import AudioError

MAX_HEAD_BYTES = 12


@dataclass(frozen=True, slots=True)
class ElementHead:
    """``size`` of the body in bytes, ``None`` where unknown; ``length`` of the head itself."""

    id: int
    size: int | None
    length: int


def read_vint(data: bytes, at: int = 0, max_length: int = 8) -> tuple[int, int] | None:
    """A variable-size integer with its marker still in it, and its length in bytes.

    ``None`` while ``data`` is too short; ``AudioError`` if it is longer than ``max_length``.
    """
    if at >= len(data):
        return None
    length = 9 - data[at].bit_length()
    if length > max_length:
        raise AudioError("the WebM recording is damaged: an element begins with an invalid byte")
    if at + length > len(data):
        return None
    return int.from_bytes(data[at : at + length], "big"), length


def strip_marker(value: int, length: int) -> int:
    return value & ((1 << 7 * length) - 1)


def read_head(data: bytes, at: int = 0) -> ElementHead | None:
    """The element's head at ``at``, or ``None`` while it is incomplete."""
    identity = read_vint(data, at, max_length=4)
    if identity is None:
        return None
    element_id, id_length = identity
    coded = read_vint(data, at + id_length)
    if coded is None:
        return None
    size = strip_marker(*coded)
    is_unknown = size == (1 << 7 * coded[1]) - 1
    return ElementHead(element_id, None if is_unknown else size, id_length + coded[1])


def children(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The (id, body) of each element in a complete body; ``AudioError`` if one overruns it."""
    at = 0
    while at < len(body):
        head = read_head(body, at)
        if head is None or head.size is None or at + head.length + head.size > len(body):
            raise AudioError("the WebM recording is damaged: an element overruns its parent")
        at += head.length + head.size
        yield head.id, body[at - head.size : at]


def to_uint(body: bytes) -> int:
    return int.from_bytes(body[:8], "big")


def to_int(body: bytes) -> int:
    return int.from_bytes(body[:8], "big", signed=True)


def to_float(body: bytes) -> float:
    """A float of 4 or 8 bytes; 0 where it is empty or of another size, as the standard says."""
    if len(body) not in (4, 8):
        return 0.0
    (value,) = struct.unpack(">f" if len(body) == 4 else ">d", body)
    return float(value)
