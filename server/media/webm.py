"""WebM and Matroska, read as they arrive (RFC 9559)."""

from __future__ import annotations

from collections.abc import Iterator

from engine.errors import AudioError
from server.media.byte_queue import ByteQueue
from server.media.ebml import MAX_HEAD_BYTES, ElementHead, children, read_head, to_int
from server.media.packets import MAX_HEADER_BYTES, MAX_PACKET_BYTES, Packet, Track
from server.media.webm_block import block_frames, block_track
from server.media.webm_track import choose_track

MAX_SKIP_BYTES = 1 << 24
_EBML, _SEGMENT, _TRACKS, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0x1F43B675
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK, _DISCARD = 0xA3, 0xA0, 0xA1, 0x75A2
_DOC_TYPE = 0x4282
_BLOCK_START_BYTES = MAX_HEAD_BYTES + 8  # a group's first head and the number of its track
_IGNORED = frozenset(
    {
        *(0xEC, 0xBF),  # Void, CRC-32
        *(0x114D9B74, 0x1549A966, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
        *(0xE7, 0x5854, 0xA7, 0xAB, 0xAF),  # within a cluster
    }
)


class WebmDemuxer:
    """A ``Demuxer``. Elements are read one after another, whatever contains them.

    Entering segments and clusters instead of measuring them makes unknown sizes, which live
    recorders write, the same as known ones. The recording ends where a further EBML header
    begins.
    """

    def __init__(self) -> None:
        self._queue = ByteQueue()
        self._track_number = -1
        self._has_begun = False
        self._is_over = False
        self.track: Track | None = None

    def feed(self, data: bytes) -> Iterator[Packet]:
        self._queue.append(data)
        while not self._is_over:
            head = read_head(self._queue.peek(MAX_HEAD_BYTES))
            if self.track is None and self._queue.position > MAX_HEADER_BYTES:
                raise AudioError(f"a WebM header without a track in {MAX_HEADER_BYTES} bytes")
            if head is None or not self._can_judge(head):
                return
            if head.id == _EBML and self._has_begun:
                self._is_over = True
            elif head.id in (_SEGMENT, _CLUSTER):
                self._queue.skip(head.length)
            elif self._is_ignored(head):
                self._queue.skip(head.length + _checked_size(head, MAX_SKIP_BYTES))
            else:
                body = self._take_body(head)
                if body is None:
                    return
                yield from self._read(head.id, body)

    def take_rest(self) -> bytes | None:
        return self._queue.take_up_to(len(self._queue)) if self._is_over else None

    def _can_judge(self, head: ElementHead) -> bool:
        """Whether enough has arrived to see a block's track."""
        return len(self._queue) >= head.length + min(head.size or 0, _BLOCK_START_BYTES)

    def _is_ignored(self, head: ElementHead) -> bool:
        """Whether the element is of no interest, as are the blocks of other tracks."""
        if head.id in (_SIMPLE_BLOCK, _BLOCK_GROUP):
            if self.track is None:
                raise AudioError("the WebM recording has audio before its list of tracks")
            return self._block_is_foreign(head)
        return head.id in _IGNORED or (head.id == _TRACKS and self.track is not None)

    def _block_is_foreign(self, head: ElementHead) -> bool:
        start = self._queue.peek(_BLOCK_START_BYTES, head.length)
        if head.id == _BLOCK_GROUP:
            block = read_head(start)
            if block is None or block.id != _BLOCK:
                return False
            start = start[block.length :]
        number = block_track(start)
        return number is not None and number != self._track_number

    def _take_body(self, head: ElementHead) -> bytes | None:
        if head.id not in (_EBML, _TRACKS, _SIMPLE_BLOCK, _BLOCK_GROUP):
            raise AudioError(f"the WebM recording is damaged: element {head.id:#x} is not known")
        size = _checked_size(head, MAX_PACKET_BYTES)
        element = self._queue.take(head.length + size)
        return None if element is None else element[head.length :]

    def _read(self, kind: int, body: bytes) -> Iterator[Packet]:
        if kind == _EBML:
            self._has_begun = True
            _check_doc_type(body)
        elif kind == _TRACKS:
            self._track_number, self.track = choose_track(body)
        elif kind == _SIMPLE_BLOCK:
            yield from self._packets(body, 0)
        else:
            group = dict(children(body))
            discard_ns = max(0, to_int(group.get(_DISCARD, b"")))
            yield from self._packets(group.get(_BLOCK, b""), discard_ns)

    def _packets(self, block: bytes, discard_ns: int) -> Iterator[Packet]:
        assert self.track is not None
        if block_track(block) != self._track_number:
            return
        *frames, last = block_frames(block)
        yield from map(Packet, frames)
        yield Packet(last, round(discard_ns * self.track.rate_hz / 10**9))


def _checked_size(head: ElementHead, limit: int) -> int:
    if head.size is None or head.size > limit:
        size = "unknown size" if head.size is None else f"{head.size} bytes"
        raise AudioError(
            f"the WebM recording is damaged: an element ({head.id:#x}) of {size}; "
            f"up to {limit} bytes are allowed"
        )
    return head.size


def _check_doc_type(body: bytes) -> None:
    doc_type = dict(children(body)).get(_DOC_TYPE, b"matroska").rstrip(b"\0")
    if doc_type not in (b"webm", b"matroska"):
        raise AudioError(f"an EBML document of type {doc_type[:40]!r}, which is not WebM")
