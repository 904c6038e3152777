"""WebM's and Matroska's blocks and their lacing (RFC 9559 §10)."""

from __future__ import annotations

from engine.errors import AudioError
from server.media.ebml import read_vint, strip_marker

_XIPH, _FIXED, _EBML = 1, 2, 3


def block_track(body: bytes) -> int | None:
    """The number of the track that a block belongs to; ``None`` while it is incomplete."""
    coded = read_vint(body)
    return None if coded is None else strip_marker(*coded)


def block_frames(body: bytes) -> list[bytes]:
    """The frames in a complete block; ``AudioError`` where their sizes do not fit."""
    coded = read_vint(body)
    if coded is None or len(body) < coded[1] + 3:
        raise _damaged()
    at = coded[1] + 3  # after the timestamp (2 bytes) and the flags
    lacing = body[at - 1] >> 1 & 3
    if not lacing:
        return [body[at:]]
    if len(body) <= at:
        raise _damaged()
    count = body[at] + 1
    if lacing == _FIXED:
        return _split_evenly(body[at + 1 :], count)
    read = _xiph_sizes if lacing == _XIPH else _ebml_sizes
    sizes, at = read(body, at + 1, count - 1)
    sizes.append(len(body) - at - sum(sizes))
    if min(sizes) < 0:
        raise _damaged()
    frames = []
    for size in sizes:
        frames.append(body[at : at + size])
        at += size
    return frames


def _split_evenly(data: bytes, count: int) -> list[bytes]:
    size, odd = divmod(len(data), count)
    if odd:
        raise _damaged()
    return [data[index * size : (index + 1) * size] for index in range(count)]


def _xiph_sizes(body: bytes, at: int, count: int) -> tuple[list[int], int]:
    sizes = []
    for _ in range(count):
        size = 0
        while True:
            if at >= len(body):
                raise _damaged()
            size += body[at]
            at += 1
            if body[at - 1] != 255:
                break
        sizes.append(size)
    return sizes, at


def _ebml_sizes(body: bytes, at: int, count: int) -> tuple[list[int], int]:
    """The first size as it is, then signed differences."""
    sizes: list[int] = []
    for index in range(count):
        coded = read_vint(body, at)
        if coded is None:
            raise _damaged()
        value, length = strip_marker(*coded), coded[1]
        at += length
        sizes.append(sizes[-1] + value - (1 << 7 * length - 1) + 1 if index else value)
    return sizes, at


def _damaged() -> AudioError:
    return AudioError("the WebM recording is damaged: a block's frames do not fit into it")
