"""A session's audio: bytes as the client sends them to mono float32 at 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.errors import AudioError
from engine.types import SAMPLE_RATE, Pcm
from server.media.channel_choice import ChoicesByCount
from server.media.pcm import SampleKind, SampleLayout
from server.media.raw import RawRecording
from server.media.recording import Recording
from server.media.resampler import EMPTY
from server.media.sniff import Match, describe_unknown, sniff

SLICE_BYTES = 64 << 10  # decoded at once: 8 s of samples of one byte at 8 kHz
PIECE_S = 5.0
# A packet of two bytes may stand for 120 ms: without a bound a message of a megabyte could ask
# for a gigabyte of samples.
MAX_SECONDS_PER_CHUNK = 600
MAX_PIECE_S = PIECE_S + SLICE_BYTES / 8_000

_RAW: dict[str, tuple[SampleKind, int]] = {
    "pcm_s16le": ("int", 2),
    "pcm_f32le": ("float", 4),
    "mulaw": ("mulaw", 1),
    "alaw": ("alaw", 1),
}


@dataclass(frozen=True, slots=True)
class Declared:
    """What the client said that it sends; only raw samples need to be declared.

    ``sample_rate`` (Hz) and ``channels`` (interleaved) are those of raw samples; containers
    carry their own.
    """

    format: Literal["auto", "pcm_s16le", "pcm_f32le", "mulaw", "alaw"] = "auto"
    sample_rate: int = 16_000
    channels: int = 1


@dataclass(frozen=True, slots=True)
class Decoded:
    """float32[n] in [-1, 1] at 16 kHz, and what went wrong after it."""

    pcm: Pcm
    error: AudioError | None = None


class AudioStream:
    """Recordings one after another, cut into chunks anywhere, recognised by their content.

    A recording may run on over many segments, and a new header may come at any chunk's
    beginning. After an error, bytes are dropped up to a chunk that begins with a header, and
    each segment in which bytes were dropped reports the error once. Where raw samples were
    declared, everything is raw samples, unless the stream begins with a container's header.

    Raises:
        AudioError: on construction, if ``declared.sample_rate`` or ``channels`` is out of range.
    """

    def __init__(self, declared: Declared = Declared()) -> None:
        self._raw = _raw_layout(declared)
        self._recording: Recording | None = None
        self._choices: ChoicesByCount = {}
        self._head = b""  # a beginning that is too short to recognise
        self._failure: AudioError | None = None  # set while bytes are dropped
        self._is_reported = False
        self._has_bytes = False  # in this segment

    def feed(self, data: bytes) -> Decoded:
        """Decode what ``data`` completes. Never raises for bad input."""
        pieces = list(self.pieces(data))
        error = pieces[-1].error if pieces else None
        return Decoded(_join([piece.pcm for piece in pieces]), error)

    def pieces(self, data: bytes) -> Iterator[Decoded]:
        """As ``feed``, but at most ``MAX_PIECE_S`` at a time; only the last may have an error.

        To be taken to its end before the next call.
        """
        if not data:
            return
        self._has_bytes = True
        waiting: list[Pcm] = []
        error = None
        try:
            left = MAX_SECONDS_PER_CHUNK * SAMPLE_RATE
            for pcm in self._decode(data):
                waiting.append(pcm)
                left -= len(pcm)
                if left < 0:
                    limit = f"{MAX_SECONDS_PER_CHUNK} s of audio"
                    raise AudioError(f"more than {limit} in one chunk; send smaller chunks")
                if sum(map(len, waiting)) >= PIECE_S * SAMPLE_RATE:
                    yield Decoded(_join(waiting))
                    waiting = []
        except AudioError as failure:
            waiting.extend(self._close())
            self._failure = AudioError(str(failure))  # without the traceback, which holds data
            error = self._report(self._failure)
        yield Decoded(_join(waiting), error)

    def end_segment(self) -> Decoded:
        """The client's segment is over: report a header without its end.

        A recording that goes on is not flushed, so that nothing clicks at the border; what
        its filter still holds (1 ms) comes with the next segment.
        """
        decoded = self._end_head() if self._has_bytes else Decoded(EMPTY)
        self._has_bytes = self._is_reported = False
        return decoded

    def _end_head(self) -> Decoded:
        if self._head and self._raw:
            self._recording = RawRecording(self._raw, self._choices)
            head, self._head = self._head, b""
            return Decoded(_join(list(self._recording.feed(head))))
        if self._head or (self._recording and self._recording.in_header):
            message = "the segment ended within a recording's header, before any audio"
            return Decoded(EMPTY, self._report(AudioError(message)))
        return Decoded(EMPTY)

    def _report(self, error: AudioError) -> AudioError | None:
        if self._is_reported:
            return None
        self._is_reported = True
        return error

    def _decode(self, data: bytes) -> Iterator[Pcm]:
        is_raw = isinstance(self._recording, RawRecording)
        if self._recording and not is_raw and sniff(data)[0] is Match.YES:
            yield from self._close()
        for start in range(0, len(data), SLICE_BYTES):
            rest: bytes | None = data[start : start + SLICE_BYTES]
            while rest:
                if self._recording is None:
                    rest = self._open(rest)
                if self._recording is None:
                    break
                yield from self._recording.feed(rest)
                rest = self._recording.take_rest()
                if rest is not None:
                    yield from self._close()

    def _open(self, data: bytes) -> bytes:
        """Recognise what begins here, and return its bytes; keep them while there are too few.

        Raises:
            AudioError: what begins here is not known.
        """
        best = b""
        for head in (self._head + data, data):
            match, container = sniff(head)
            if container:
                self._head, self._failure, self._raw = b"", None, None
                self._recording = container.open(self._choices)
                return head
            if match is Match.MAYBE:
                best = best or head
        head, self._head = self._head + data, best
        if best:
            return b""
        if self._raw:
            self._recording = RawRecording(self._raw, self._choices)
            return head
        raise self._failure or AudioError(describe_unknown(head))

    def _close(self) -> Iterator[Pcm]:
        recording, self._recording = self._recording, None
        if recording:
            yield recording.flush()


def _raw_layout(declared: Declared) -> SampleLayout | None:
    if declared.format == "auto":
        return None
    kind, sample_bytes = _RAW[declared.format]
    return SampleLayout(kind, sample_bytes, declared.channels, declared.sample_rate)


def _join(pieces: list[Pcm]) -> Pcm:
    filled = [piece for piece in pieces if len(piece)]
    if not filled:
        return EMPTY
    return np.concatenate(filled) if len(filled) > 1 else filled[0]
