"""Any recording on disk as pieces of raw PCM, as a microphone would give them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame

from engine.errors import AudioError
from engine.types import SAMPLE_RATE
from server.media.mixer import Mixer
from server.media.packet_decoder import to_planes

BYTES_PER_S = SAMPLE_RATE * 2


def read_pcm(path: Path, chunk_ms: int = 100) -> Iterator[bytes]:
    """16 kHz mono s16 little-endian PCM of the first audio stream, ``chunk_ms`` at a time.

    The last piece may be shorter. Raises ``AudioError`` at once if the file cannot be opened or
    has no audio, and later if it turns out to be corrupt.
    """
    try:
        container = av.open(str(path), mode="r")
    except (OSError, av.error.FFmpegError) as error:
        raise AudioError(f"Cannot read {path} as audio: {error}") from error
    if not container.streams.audio:
        container.close()
        raise AudioError(f"{path} has no audio in it.")
    return _pieces(_decode(container, path), BYTES_PER_S * chunk_ms // 1000)


def _decode(container: av.container.InputContainer, path: Path) -> Iterator[bytes]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    to_mono = _ToMono()
    try:
        with container:
            for frame in container.decode(audio=0):
                for converted in resampler.resample(to_mono.convert(frame)):
                    yield converted.to_ndarray().tobytes()
            for converted in resampler.resample(None):
                yield converted.to_ndarray().tobytes()
    except av.error.FFmpegError as error:
        raise AudioError(f"{path} is not a whole recording: {error}") from error


class _ToMono:
    """Frames of any layout to frames of one channel, mixed as the server mixes them."""

    def __init__(self) -> None:
        self._to_planes = av.AudioResampler(format="fltp")
        self._mixer: Mixer | None = None

    def convert(self, frame: AudioFrame) -> AudioFrame:
        channels = frame.layout.nb_channels
        if channels == 1:
            return frame
        if self._mixer is None or self._mixer.channels != channels:
            self._mixer = Mixer(channels, frame.sample_rate)
            self._to_planes = av.AudioResampler(format="fltp")
        planes = [to_planes(ready) for ready in self._to_planes.resample(frame)]
        mono = self._mixer.feed(np.concatenate(planes, axis=1)).reshape(1, -1)
        mixed = AudioFrame.from_ndarray(mono, format="fltp", layout="mono")
        mixed.sample_rate = frame.sample_rate
        return mixed


def _pieces(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    rest = bytearray()
    for block in blocks:
        rest += block
        while len(rest) >= size:
            yield bytes(rest[:size])
            del rest[:size]
    if rest:
        yield bytes(rest)
