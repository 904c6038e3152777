"""Fragmented MP4, read as it arrives (ISO/IEC 14496-12)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from engine.errors import AudioError
from server.media.byte_queue import ByteQueue
from server.media.mp4_boxes import MAX_HEAD_BYTES, BoxHead, damaged, read_head
from server.media.mp4_fragment import sample_ranges
from server.media.mp4_track import Mp4Track, choose_track
from server.media.packets import MAX_HEADER_BYTES, WHAT_TO_RECORD, Packet, Track

MAX_MDAT_BYTES = 1 << 28
MAX_SKIP_BYTES = 1 << 24
_ENDLESS = 1 << 63


class Mp4Demuxer:
    """A ``Demuxer``. The recording ends where a further ``ftyp`` box begins."""

    def __init__(self) -> None:
        self._queue = ByteQueue()
        self._chosen: Mp4Track | None = None
        self._ranges: deque[tuple[int, int]] = deque()
        self._mdat_end: int | None = None  # while within one
        self._is_over = False

    @property
    def track(self) -> Track | None:
        return self._chosen.track if self._chosen else None

    def feed(self, data: bytes) -> Iterator[Packet]:
        self._queue.append(data)
        while not self._is_over:
            if self._mdat_end is not None:
                yield from self._samples(self._mdat_end)
                if self._mdat_end is not None:
                    return
            head = read_head(self._queue.peek(MAX_HEAD_BYTES))
            if head is None or not self._enter(head):
                return

    def take_rest(self) -> bytes | None:
        return self._queue.take_up_to(len(self._queue)) if self._is_over else None

    def _enter(self, head: BoxHead) -> bool:
        """Read, skip or begin a box; False while it is incomplete or when all is over."""
        if head.type == b"ftyp" and self._chosen:
            self._is_over = True
            return False
        if head.type == b"mdat":
            self._begin_mdat(head)
            return True
        if head.type == b"moof" or (head.type == b"moov" and not self._chosen):
            return self._read(head)
        self._queue.skip(head.length + _checked_size(head, MAX_SKIP_BYTES))
        if not self._chosen and self._queue.position > MAX_HEADER_BYTES:
            raise AudioError(f"an MP4 header without a track in {MAX_HEADER_BYTES} bytes")
        return True

    def _read(self, head: BoxHead) -> bool:
        start = self._queue.position
        box = self._queue.take(head.length + _checked_size(head, MAX_HEADER_BYTES))
        if box is None:
            return False
        body = box[head.length :]
        if head.type == b"moov":
            self._chosen = choose_track(body)
            return True
        if self._chosen is None:
            raise damaged("a fragment comes before the header")
        if self._ranges:
            raise damaged("a fragment without its samples")
        self._ranges = deque(sample_ranges(body, start, self._chosen))
        return True

    def _begin_mdat(self, head: BoxHead) -> None:
        if self._chosen is None:
            raise AudioError(
                f"the MP4 file has its index at the end, so it cannot be streamed: {WHAT_TO_RECORD}"
            )
        self._queue.skip(head.length)
        size = _ENDLESS if head.size is None else _checked_size(head, MAX_MDAT_BYTES)
        self._mdat_end = self._queue.position + size

    def _samples(self, end: int) -> Iterator[Packet]:
        """Yield the samples that have arrived, and leave the box when all of them have."""
        while self._ranges and self._ranges[0][0] < end:
            start, size = self._ranges[0]
            if start < self._queue.position or start + size > end:
                raise damaged("a sample lies outside of its box")
            self._queue.skip(start - self._queue.position)
            data = self._queue.take(size)
            if data is None:
                return
            self._ranges.popleft()
            yield Packet(data)
        self._queue.skip(end - self._queue.position)
        self._mdat_end = None


def _checked_size(head: BoxHead, limit: int) -> int:
    if head.size is None or head.size > limit:
        size = "unknown size" if head.size is None else f"{head.size} bytes"
        raise damaged(f"a box ({head.type!r}) of {size}; up to {limit} bytes are allowed")
    return head.size
