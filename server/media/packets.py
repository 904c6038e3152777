"""What a container holds: a track and its packets; and the seam for demuxers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from engine.errors import AudioError
from server.media.pcm import SampleLayout

MAX_PACKET_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 20
MAX_SKIP_S = 5
WHAT_TO_RECORD = (
    'record with MediaRecorder as "audio/webm;codecs=opus", "audio/mp4" or "audio/ogg;codecs=opus"'
)


@dataclass(frozen=True, slots=True)
class Track:
    """An audio track that can be decoded.

    ``config`` is what FFmpeg calls extradata. ``skip_samples`` at the beginning are not to be
    heard (Opus pre-skip, AAC priming); they and a packet's ``trim_samples`` count at
    ``rate_hz``. ``layout`` describes the packets of codec "pcm".
    """

    codec: Literal["opus", "aac", "pcm"]
    config: bytes
    rate_hz: int
    skip_samples: int = 0
    layout: SampleLayout | None = None

    def __post_init__(self) -> None:
        """Raises ``AudioError`` where the track would stay silent for long."""
        if self.skip_samples > MAX_SKIP_S * self.rate_hz:
            skip_s = self.skip_samples // self.rate_hz
            raise AudioError(f"the recording is damaged: its first {skip_s} s are not to be heard")


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of the track; ``trim_samples`` at its end are not to be heard."""

    data: bytes
    trim_samples: int = 0


class Demuxer(Protocol):
    """One container's bytes, cut anywhere, to the packets of its audio track.

    What it keeps between calls is bounded, whatever the bytes say.
    """

    @property
    def track(self) -> Track | None:
        """Known once the header is complete, and before the first packet."""
        ...

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield the packets that ``data`` completes; ``AudioError`` if it is damaged."""
        ...

    def take_rest(self) -> bytes | None:
        """The bytes after the end of the recording, once; ``None`` while it goes on."""
        ...
