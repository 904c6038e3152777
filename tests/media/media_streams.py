"""Recordings muxed by FFmpeg and by Chromium, and how FFmpeg itself hears them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from media_signals import Samples, chirp

from engine.types import SAMPLE_RATE, Pcm

RECORDINGS = Path(__file__).parent / "recordings"
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "100000"}


@dataclass(frozen=True)
class Muxing:
    """How a test signal of ``seconds`` is encoded and muxed."""

    container: str
    codec: str
    rate_hz: int = 48_000
    channels: int = 1
    seconds: float = 0.5
    options: dict[str, str] = field(default_factory=dict, hash=False)
    codec_options: dict[str, str] = field(default_factory=dict, hash=False)


_SILK = {"application": "voip", "b": "12000"}
MUXINGS = {
    "webm_opus": Muxing("webm", "libopus"),
    "webm_opus_live": Muxing("webm", "libopus", channels=2, options={"live": "1"}),
    "webm_opus_silk": Muxing("webm", "libopus", 16_000, codec_options=_SILK),
    "webm_opus_60ms": Muxing("webm", "libopus", codec_options={"frame_duration": "60"}),
    "webm_opus_8k": Muxing("webm", "libopus", 8_000),
    "matroska_aac": Muxing("matroska", "aac", 44_100, 2),
    "matroska_pcm": Muxing("matroska", "pcm_s16le", 44_100, 2, seconds=0.15),
    "matroska_float": Muxing("matroska", "pcm_f32le", 16_000, seconds=0.3),
    "ogg_opus": Muxing("ogg", "libopus"),
    "ogg_opus_stereo": Muxing("ogg", "libopus", 24_000, 2),
    "ogg_opus_pages": Muxing("ogg", "libopus", options={"page_duration": "20000"}),
    "mp4_aac": Muxing("mp4", "aac", 44_100, 2, options=_FRAGMENTS),
    "mp4_aac_8k": Muxing("mp4", "aac", 8_000, options=_FRAGMENTS),
    "mp4_aac_primed": Muxing(
        "mp4", "aac", options=_FRAGMENTS | {"movflags": "frag_keyframe+empty_moov+delay_moov"}
    ),
    "mp4_opus": Muxing("mp4", "libopus", options=_FRAGMENTS),
    "mp4_opus_edited": Muxing(
        "mp4", "libopus", options=_FRAGMENTS | {"movflags": "frag_keyframe+empty_moov+delay_moov"}
    ),
    "mp4_opus_every_frame": Muxing(
        "mp4", "libopus", channels=2, options={"movflags": "frag_every_frame+empty_moov"}
    ),
}


class _Pipe(io.RawIOBase):
    """A file that cannot seek, so that sizes stay unknown, as from a live recorder."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)

    def seekable(self) -> bool:
        return False


@cache
def muxed(name: str) -> bytes:
    return mux(MUXINGS[name])


def mux(how: Muxing, gap_s: float = 0.0, samples: Samples | None = None) -> bytes:
    """``samples`` (or a chirp), with a jump of ``gap_s`` in the timestamps half way."""
    pipe = _Pipe()
    layout = "mono" if how.channels == 1 else "stereo"
    if samples is None:
        samples = chirp(how.seconds, how.rate_hz, how.channels)
    signal = samples.T.astype(np.float32)
    with av.open(pipe, "w", format=how.container, options=how.options) as container:
        stream = container.add_stream(
            how.codec, rate=how.rate_hz, layout=layout, options=how.codec_options
        )
        context = stream.codec_context
        assert isinstance(context, AudioCodecContext)
        context.open()
        resampler = av.AudioResampler(
            context.format, context.layout, context.rate, context.frame_size or 960
        )
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(signal), "fltp", layout)
        frame.sample_rate, frame.pts = how.rate_hz, 0
        frames = [*resampler.resample(frame), *resampler.resample(None), None]
        for index, ready in enumerate(frames):
            for packet in context.encode(ready):
                packet.stream = stream
                if gap_s and index > len(frames) // 2:
                    packet.pts += round(gap_s / packet.time_base)
                    packet.dts = packet.pts
                container.mux(packet)
    return bytes(pipe.data)


def decode_whole(data: bytes) -> Pcm:
    """What FFmpeg hears in a whole file: float32[n] mono at 16 kHz."""
    resampler = None
    pieces: list[Pcm] = []
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray()
            if not frame.format.is_planar:
                samples = samples.reshape(-1, frame.layout.nb_channels).T
            if samples.dtype == np.int16:
                samples = samples.astype(np.float32) / np.float32(2**15)
            mono = samples.mean(axis=0, dtype=np.float32).reshape(1, -1)
            mixed = av.AudioFrame.from_ndarray(mono, "fltp", "mono")
            mixed.sample_rate = frame.sample_rate
            resampler = resampler or av.AudioResampler("fltp", "mono", SAMPLE_RATE)
            pieces += [ready.to_ndarray()[0] for ready in resampler.resample(mixed)]
    if resampler and frame.sample_rate != SAMPLE_RATE:
        pieces += [ready.to_ndarray()[0] for ready in resampler.resample(None)]
    return np.clip(np.concatenate(pieces), -1.0, 1.0)


def recorded(name: str) -> bytes:
    """What Chromium's MediaRecorder made."""
    return (RECORDINGS / f"{name}.bin").read_bytes()


def recorded_blobs(name: str) -> Iterator[bytes]:
    """The same in the blobs in which the browser gave it."""
    index = json.loads((RECORDINGS / "recordings.json").read_text())
    data, at = recorded(name), 0
    for size in index["recordings"][name]["blob_bytes"]:
        yield data[at : at + size]
        at += size
    assert at == len(data)
