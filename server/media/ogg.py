"""Ogg with Opus, read as it arrives (RFC 3533, RFC 7845)."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from engine.errors import AudioError
from server.media.byte_queue import ByteQueue
from server.media.opus import HEAD_MAGIC, opus_track, packet_samples
from server.media.packets import (
    MAX_HEADER_BYTES,
    MAX_PACKET_BYTES,
    WHAT_TO_RECORD,
    Packet,
    Track,
)

_HEAD_BYTES = 27
_MAX_STRANGERS = 8
_CONTINUED, _BEGINS, _ENDS = 1, 2, 4
_CODECS = {
    b"\x01vorbis": "Vorbis", b"\x80theora": "Theora (video)", b"\x7fFLAC": "FLAC",
    b"Speex   ": "Speex", b"fishead\0": "a skeleton", b"OVP80\1\1 ": "VP8 (video)",
}  # fmt: skip


@dataclass(slots=True)
class _Page:
    """A page whose body is being read.

    ``granule`` is the end of its last complete packet in samples at 48 kHz, -1 if it has none.
    ``pieces`` are its packets that have not arrived yet, as (size in bytes, whether it ends
    here); ``samples`` is the duration of those that have.
    """

    flags: int
    granule: int
    serial: int
    pieces: deque[tuple[int, bool]]
    samples: int = 0


class OggDemuxer:
    """A ``Demuxer`` of the first Opus stream. The recording ends with that stream."""

    def __init__(self) -> None:
        self._queue = ByteQueue()
        self._serial: int | None = None
        self._strangers: list[str] = []
        self._page: _Page | None = None
        self._partial = b""  # of a packet that goes on in the next page
        self._has_tags = False
        self._granule = 0  # of the page before
        self._is_over = False
        self.track: Track | None = None

    def feed(self, data: bytes) -> Iterator[Packet]:
        self._queue.append(data)
        while not self._is_over and (self._page or self._begin_page()):
            if self._page:
                yield from self._packets(self._page)
                if self._page:
                    return

    def take_rest(self) -> bytes | None:
        return self._queue.take_up_to(len(self._queue)) if self._is_over else None

    def _begin_page(self) -> bool:
        """Enter a page of ours or pass another one; False while its head is incomplete."""
        head = self._queue.peek(_HEAD_BYTES)
        if not b"OggS\0".startswith(head[:5]):
            raise AudioError("the Ogg recording is damaged: a page does not begin with OggS")
        if len(head) < _HEAD_BYTES:
            return False
        lacing = self._queue.peek(head[26], _HEAD_BYTES)
        if len(lacing) < head[26]:
            return False
        flags, granule, serial = struct.unpack_from("<BqI", head, 5)
        if flags & _BEGINS:
            return self._begin_stream(serial, lacing)
        if self._serial is None:
            found = ", ".join(self._strangers) or "no stream"
            raise AudioError(f"the Ogg file holds {found}; Opus is understood: {WHAT_TO_RECORD}")
        self._queue.skip(_HEAD_BYTES + len(lacing))
        if serial == self._serial:
            self._page = _Page(flags, granule, serial, _pieces(lacing))
            self._partial = self._partial if flags & _CONTINUED else b""
        else:
            self._queue.skip(sum(lacing))
        return True

    def _begin_stream(self, serial: int, lacing: bytes) -> bool:
        if self.track and self._has_tags:
            self._is_over = True
            return False
        page = self._queue.take(_HEAD_BYTES + len(lacing) + sum(lacing))
        if page is None:
            return False
        head = page[_HEAD_BYTES + len(lacing) :]
        if self._serial is None and head.startswith(HEAD_MAGIC):
            self.track = opus_track(head)
            self._serial = serial
        elif len(self._strangers) < _MAX_STRANGERS:
            names = (name for magic, name in _CODECS.items() if head.startswith(magic))
            self._strangers.append(next(names, f"an unknown codec ({head[:8].hex(' ')})"))
        return True

    def _packets(self, page: _Page) -> Iterator[Packet]:
        """Yield the packets that have arrived, and leave the page when all of them have."""
        while page.pieces:
            size, is_end = page.pieces[0]
            piece = self._queue.take(size)
            if piece is None:
                return
            page.pieces.popleft()
            packet, self._partial = self._partial + piece, b""
            if is_end:
                yield from self._hear(packet, page)
            else:
                self._keep(packet)
        if page.granule >= 0:
            self._granule = page.granule
        self._is_over = bool(page.flags & _ENDS)
        self._page = None

    def _hear(self, packet: bytes, page: _Page) -> Iterator[Packet]:
        if not self._has_tags:
            self._has_tags = True
            return
        samples = packet_samples(packet)
        page.samples += samples
        is_last = page.flags & _ENDS and page.granule >= 0 and len(page.pieces) == 0
        excess = self._granule + page.samples - page.granule if is_last else 0
        yield Packet(packet, min(max(0, excess), samples))

    def _keep(self, packet: bytes) -> None:
        limit = MAX_PACKET_BYTES if self._has_tags else MAX_HEADER_BYTES
        if len(packet) > limit:
            raise AudioError(f"the Ogg recording has a packet of more than {limit} bytes")
        self._partial = packet


def _pieces(lacing: bytes) -> deque[tuple[int, bool]]:
    """The sizes of a page's packets; a value of 255 says that the packet goes on."""
    pieces: deque[tuple[int, bool]] = deque()
    size = 0
    for value in lacing:
        size += value
        if value < 255:
            pieces.append((size, True))
            size = 0
    if lacing.endswith(b"\xff"):
        pieces.append((size, False))
    return pieces
