"""WAV, read as it arrives (Microsoft's "Multimedia Programming Interface 1.0", RIFF; RFC 2361)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from engine.errors import AudioError
from engine.types import Pcm
from server.media.byte_queue import ByteQueue
from server.media.channel_choice import ChoicesByCount
from server.media.pcm import PcmDecoder, SampleKind, SampleLayout
from server.media.resampler import EMPTY

MAX_HEADER_BYTES = 4 << 20
_RIFF_BYTES = 12
_MAX_FMT_BYTES = 1 << 12
_HEADER = re.compile(rb"RIFF....WAVE", re.DOTALL)
_HEADER_START = re.compile(rb"R(?:I(?:F(?:F.{0,7})?)?)?\Z", re.DOTALL)
# Writers that cannot seek leave 0, the largest size, or (SoX) something just below 2 GiB.
_UNKNOWN_FROM = 0x7FFF_0000
_EXTENSIBLE = 0xFFFE
_KINDS: dict[int, SampleKind] = {1: "int", 3: "float", 6: "alaw", 7: "mulaw"}  # by format tag
_CODECS = {
    2: "Microsoft ADPCM", 0x11: "IMA ADPCM", 0x31: "GSM 6.10",
    0x50: "MPEG audio", 0x55: "MP3", 0xFF: "AAC",
}  # fmt: skip


class WavRecording:
    """A ``Recording`` of one WAV file.

    The file ends where a further ``RIFF`` begins after its data; data of unknown size ends
    only there.
    """

    def __init__(self, choices: ChoicesByCount | None = None) -> None:
        self._choices = choices
        self._queue = ByteQueue()
        self._queue.skip(_RIFF_BYTES)  # which the caller has seen
        self._layout: SampleLayout | None = None
        self._pcm: PcmDecoder | None = None
        self._data_left: int | None = 0  # None: unknown
        self._is_over = False

    @property
    def in_header(self) -> bool:
        return self._pcm is None

    def feed(self, data: bytes) -> Iterator[Pcm]:
        self._queue.append(data)
        while not self._is_over:
            if self._data_left is None:
                yield self._open_ended_data()
                if not self._is_over:
                    return
            elif self._data_left:
                yield self._sized_data(self._data_left)
                if self._data_left:
                    return
                yield self.flush()
            elif not self._next_chunk():
                return

    def take_rest(self) -> bytes | None:
        return self._queue.take_up_to(len(self._queue)) if self._is_over else None

    def flush(self) -> Pcm:
        return self._pcm.flush() if self._pcm else EMPTY

    def _sized_data(self, left: int) -> Pcm:
        assert self._pcm is not None
        data = self._queue.take_up_to(left)
        self._data_left = left - len(data)
        return self._pcm.feed(data)

    def _open_ended_data(self) -> Pcm:
        """Decode up to the next file's header, holding back what may be its beginning."""
        assert self._pcm is not None
        data = self._queue.peek(len(self._queue))
        header = _HEADER.search(data)
        self._is_over = header is not None
        end = header or _HEADER_START.search(data, max(0, len(data) - _RIFF_BYTES + 1))
        return self._pcm.feed(self._queue.take_up_to(end.start() if end else len(data)))

    def _next_chunk(self) -> bool:
        """Enter the next chunk; False while its head is incomplete, or at the file's end."""
        if self._pcm and self._queue.peek(1) == b"\0":  # the pad byte of data of odd size
            self._queue.skip(1)
        head = self._queue.peek(8)
        if len(head) < 8:
            return False
        if self._pcm and head.startswith((b"RIFF", b"RF64")):
            self._is_over = True
            return False
        name, size = struct.unpack("<4sI", head)
        if name == b"fmt " and self._pcm is None:
            return self._read_format(size)
        if not all(0x20 <= byte < 0x7F for byte in name):
            raise AudioError("the chunks of this WAV file are damaged")
        self._queue.skip(8)
        if name == b"data" and self._pcm is None:
            self._enter_data(size)
        else:
            self._skip_chunk(size)
        return True

    def _skip_chunk(self, size: int) -> None:
        self._queue.skip(size + size % 2)
        if self._pcm is None and self._queue.position > MAX_HEADER_BYTES:
            raise AudioError(f"a WAV header without audio in {MAX_HEADER_BYTES} bytes")

    def _read_format(self, size: int) -> bool:
        if not 16 <= size <= _MAX_FMT_BYTES:
            raise AudioError(f"a WAV format chunk of {size} bytes; 16 to 40 are usual")
        chunk = self._queue.take(8 + size)
        if chunk is None:
            return False
        self._layout = _parse_format(chunk[8:])
        self._queue.skip(size % 2)
        return True

    def _enter_data(self, size: int) -> None:
        if self._layout is None:
            raise AudioError("a WAV file whose data comes before its format")
        self._pcm = PcmDecoder(self._layout, self._choices)
        self._data_left = None if size == 0 or size >= _UNKNOWN_FROM else size


def _parse_format(fmt: bytes) -> SampleLayout:
    """The layout that a ``fmt `` chunk describes; ``AudioError`` where it is not understood."""
    tag, channels, rate_hz, _, block_bytes, bits = struct.unpack_from("<HHIIHH", fmt)
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        (tag,) = struct.unpack_from("<H", fmt, 24)
    kind = _KINDS.get(tag)
    if kind is None:
        codec = _CODECS.get(tag, f"codec {tag:#06x}")
        raise AudioError(
            f"a WAV file with {codec} inside; integer and float PCM and G.711 (mu-law, A-law) "
            "are understood"
        )
    layout = SampleLayout(kind, (bits + 7) // 8, channels, rate_hz)
    if block_bytes != layout.sample_bytes * channels:
        raise AudioError(f"a WAV file whose blocks of {block_bytes} bytes do not fit its samples")
    return layout
