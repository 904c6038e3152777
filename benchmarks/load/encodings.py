"""An utterance as the pieces that a client sends, each with the moment when it is due."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Literal

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from benchmarks.load.records import Encoding
from engine.types import SAMPLE_RATE

PCM_MS = 100
BLOB_MS = (100, 250)
"""A recorder's blobs; each recording takes one length between."""
TELEPHONE_MS = 20
G711_HZ = 8_000
_OPUS_HZ = 48_000

Piece = tuple[float, bytes]
"""Seconds after the utterance began at which a microphone would have it, and the bytes."""


def pieces(pcm: NDArray[np.int16], encoding: Encoding, rng: np.random.Generator) -> list[Piece]:
    """``pcm`` (int16, mono, 16 kHz) as a client would send it."""
    if encoding == "webm":
        return list(_webm(pcm, int(rng.integers(*BLOB_MS, endpoint=True))))
    if encoding == "mulaw":
        return list(_cut(to_g711(pcm.astype("<i2").tobytes(), "mulaw"), TELEPHONE_MS, G711_HZ))
    cut = list(_cut(pcm.astype("<i2").tobytes(), PCM_MS, SAMPLE_RATE * 2))
    if encoding == "wav":
        due_s, first = cut[0]
        cut[0] = (due_s, _wav_header(len(pcm) * 2) + first)
    return cut


def to_g711(pcm: bytes, law: Literal["mulaw", "alaw"]) -> bytes:
    """s16 samples at 16 kHz as a telephone would carry them: 8 kHz, a byte a sample."""
    context = av.CodecContext.create(f"pcm_{law}", "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = G711_HZ, "mono", "s16"
    resampler = av.AudioResampler("s16", "mono", G711_HZ)
    frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2")[np.newaxis], "s16", "mono")
    frame.sample_rate = SAMPLE_RATE
    ready = [*resampler.resample(frame), *resampler.resample(None), None]
    return b"".join(bytes(packet) for each in ready for packet in context.encode(each))


def with_noise(
    pcm: NDArray[np.int16], snr_db: float, rng: np.random.Generator
) -> NDArray[np.int16]:
    """White noise added at this signal-to-noise ratio."""
    signal = pcm.astype(np.float64)
    level = np.sqrt(np.mean(signal**2)) / 10 ** (snr_db / 20)
    noisy = signal + rng.normal(0, level, len(signal))
    return np.clip(noisy, -32768, 32767).astype(np.int16)


def _cut(data: bytes, chunk_ms: int, bytes_per_s: int) -> Iterator[Piece]:
    size = bytes_per_s * chunk_ms // 1000
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        yield (start + len(piece)) / bytes_per_s, piece


def _wav_header(data_bytes: int) -> bytes:
    fields = [
        b"RIFF", (36 + data_bytes).to_bytes(4, "little"), b"WAVEfmt ",
        (16).to_bytes(4, "little"), (1).to_bytes(2, "little"), (1).to_bytes(2, "little"),
        SAMPLE_RATE.to_bytes(4, "little"), (SAMPLE_RATE * 2).to_bytes(4, "little"),
        (2).to_bytes(2, "little"), (16).to_bytes(2, "little"),
        b"data", data_bytes.to_bytes(4, "little"),
    ]  # fmt: skip
    return b"".join(fields)


class _Pipe(io.RawIOBase):
    """A file that cannot seek, so that sizes stay unknown, as from a live recorder."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)

    def seekable(self) -> bool:
        return False


def _webm(pcm: NDArray[np.int16], blob_ms: int) -> Iterator[Piece]:
    """WebM/Opus with a cluster to each blob, as MediaRecorder writes it."""
    pipe, sent, blobs = _Pipe(), 0, 0
    options = {"live": "1", "cluster_time_limit": str(blob_ms), "flush_packets": "1"}
    resampler = av.AudioResampler("s16", "mono", _OPUS_HZ, _OPUS_HZ // 50)
    with av.open(pipe, "w", format="webm", options=options) as container:
        stream = container.add_stream(
            "libopus", rate=_OPUS_HZ, layout="mono", options={"application": "voip"}
        )
        assert isinstance(stream.codec_context, AudioCodecContext)
        stream.codec_context.bit_rate = 32_000
        frame = av.AudioFrame.from_ndarray(pcm[np.newaxis], "s16", "mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        for number, ready in enumerate([*resampler.resample(frame), *resampler.resample(None)], 1):
            container.mux(stream.encode(ready))
            now_ms = number * 20
            if now_ms // blob_ms > blobs and len(pipe.data) > sent:
                yield now_ms / 1e3, bytes(pipe.data[sent:])
                sent, blobs = len(pipe.data), now_ms // blob_ms
        container.mux(stream.encode(None))
    yield len(pcm) / SAMPLE_RATE, bytes(pipe.data[sent:])
