"""Signals and WAV files for the tests of ``server.media``, written without its code."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext

from engine.types import Pcm
from server.media.stream import AudioStream

Samples = npt.NDArray[np.float64]
COMPANDED = {"a8": (6, "pcm_alaw"), "mu8": (7, "pcm_mulaw")}  # format tag, FFmpeg's name


def chirp(seconds: float, rate_hz: int, channels: int = 1) -> Samples:
    """float64[n, channels]: a rising tone and a little noise, different in each channel."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(7).standard_normal((len(t), channels)) * 0.01
    tones = [0.5 * np.sin(2 * np.pi * (200 + 40 * c + 300 * t) * t) for c in range(channels)]
    return np.stack(tones, axis=1) + noise


def voice(seconds: float, rate_hz: int, pitch_hz: float = 120.0) -> Samples:
    """float64[n]: harmonics of a moving pitch, in syllables with pauses, and a little noise."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * t))) / rate_hz
    harmonics = [n for n in range(1, 25) if n * pitch_hz * 1.2 < min(rate_hz / 2, 3_600)]
    gains = [np.exp(-(((n * pitch_hz - 600) / 500) ** 2)) + 0.05 for n in harmonics]
    tones = sum(g * np.sin(n * phase) for n, g in zip(harmonics, gains, strict=True))
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * t), 0, 1) * (np.sin(2 * np.pi * 0.9 * t) > -0.5)
    noise = np.random.default_rng(round(pitch_hz)).standard_normal(len(t)) * 0.0005
    return np.asarray(0.1 * tones * syllables + noise)


def encode(samples: Samples, kind: str) -> bytes:
    """Interleaved little-endian samples; ``kind`` is u8, s16, s24, s32, f32, f64, mu8 or a8."""
    if kind in COMPANDED and not samples.size:
        return b""
    if kind in COMPANDED:
        shorts = np.round(samples.reshape(1, -1) * 32767).astype(np.int16)
        context = av.CodecContext.create(COMPANDED[kind][1], "w")
        assert isinstance(context, AudioCodecContext)
        context.sample_rate, context.layout, context.format = 8_000, "mono", "s16"
        frame = av.AudioFrame.from_ndarray(shorts, "s16", "mono")
        frame.sample_rate = 8_000
        return b"".join(map(bytes, [*context.encode(frame), *context.encode(None)]))
    if kind in ("f32", "f64"):
        return samples.astype(f"<f{int(kind[1:]) // 8}").tobytes()
    bits = int(kind[1:])
    whole = np.round(samples * (2 ** (bits - 1) - 1)).astype(np.int64)
    if kind == "u8":
        return (whole + 128).astype(np.uint8).tobytes()
    little = whole.astype("<i8").reshape(-1, 1).view(np.uint8)
    return little[:, : bits // 8].tobytes()


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def fmt(kind: str, rate_hz: int, channels: int, extensible: bool = False) -> bytes:
    bits = int(kind.lstrip("abcdefghijklmnopqrstuvwxyz"))
    tag = COMPANDED[kind][0] if kind in COMPANDED else 3 if kind[0] == "f" else 1
    block = bits // 8 * channels
    head = struct.pack("<HIIHH", channels, rate_hz, rate_hz * block, block, bits)
    if not extensible:
        return chunk(b"fmt ", struct.pack("<H", tag) + head)
    guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
    tail = struct.pack("<HHI", 22, bits, 0) + guid
    return chunk(b"fmt ", struct.pack("<H", 0xFFFE) + head + tail)


def wav(
    samples: Samples,
    rate_hz: int,
    kind: str = "s16",
    extensible: bool = False,
    streaming_size: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A whole WAV file; ``streaming_size`` stands in both sizes, as in one that was piped."""
    body = encode(samples, kind)
    data = chunk(b"data", body)
    if streaming_size is not None:
        data = b"data" + struct.pack("<I", streaming_size) + body
    head = fmt(kind, rate_hz, samples.shape[1], extensible)
    chunks = b"WAVE" + before + head + data + after
    size = len(chunks) if streaming_size is None else streaming_size
    return b"RIFF" + struct.pack("<I", size) + chunks


def cut(data: bytes, offsets: Iterable[int]) -> Iterator[bytes]:
    """``data`` cut at ``offsets`` (any order, any number, taken modulo its length)."""
    borders = [0, *sorted(offset % (len(data) + 1) for offset in offsets), len(data)]
    for start, end in itertools.pairwise(borders):
        yield data[start:end]


def decode(chunks: Iterable[bytes], stream: AudioStream | None = None) -> Pcm:
    """Feed all and expect no error."""
    stream = stream or AudioStream()
    pieces = []
    for data in chunks:
        decoded = stream.feed(data)
        assert decoded.error is None, decoded.error
        pieces.append(decoded.pcm)
    return np.concatenate([np.zeros(0, np.float32), *pieces])
