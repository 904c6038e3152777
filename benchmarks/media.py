"""What the decoding of clients' audio costs: processor time and memory, for each format.

    python -m benchmarks.media --help

Each format is a signal of speech's loudness and bandwidth, muxed by FFmpeg as a live recorder
would, fed in chunks of 100 ms on one thread. Processor time is that of the process; memory is
the growth of its resident set, in a process of its own, over many streams that have each heard
half a second and then wait.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from benchmarks.load import results
from server.media.stream import AudioStream, Declared

CHUNK_MS = 100
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "100000"}
_OPUS = {"application": "voip", "frame_duration": "60"}
# name: container, codec, sample rate, channels, options of the muxer and of the codec
FORMATS: dict[str, tuple[str, str, int, int, dict[str, str], dict[str, str]]] = {
    "webm_opus": ("webm", "libopus", 48_000, 1, {"live": "1"}, _OPUS),
    "webm_opus_stereo": ("webm", "libopus", 48_000, 2, {"live": "1"}, _OPUS),
    "webm_pcm": ("matroska", "pcm_f32le", 48_000, 1, {"live": "1"}, {}),
    "ogg_opus": ("ogg", "libopus", 48_000, 1, {"page_duration": "60000"}, _OPUS),
    "mp4_opus": ("mp4", "libopus", 48_000, 1, _FRAGMENTED, _OPUS),
    "mp4_aac": ("mp4", "aac", 48_000, 1, _FRAGMENTED, {}),
    "wav_48k": ("wav", "pcm_s16le", 48_000, 1, {}, {}),
    "wav_44k1_stereo": ("wav", "pcm_s16le", 44_100, 2, {}, {}),
}
NAMES = (*FORMATS, "raw_16k")


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


def signal(seconds: float, rate_hz: int, channels: int) -> np.ndarray:
    """float32[channels, n]: noise below 4 kHz that swells and fades four times a second."""
    samples = round(seconds * rate_hz)
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal((channels, samples)))
    spectrum[:, round(4_000 * seconds) :] = 0
    noise = np.fft.irfft(spectrum, samples)
    loudness = 0.1 * (1 + np.sin(2 * np.pi * 4 * np.arange(samples) / rate_hz))
    return (noise / noise.std() * loudness).clip(-1, 1).astype(np.float32)


def make(name: str, seconds: float) -> bytes:
    if name == "raw_16k":
        return (signal(seconds, 16_000, 1)[0] * 32767).astype("<i2").tobytes()
    container_name, codec, rate_hz, channels, options, codec_options = FORMATS[name]
    layout = "mono" if channels == 1 else "stereo"
    pipe = Pipe()
    with av.open(pipe, "w", format=container_name, options=options) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout, options=codec_options)
        context = stream.codec_context
        assert isinstance(context, AudioCodecContext)
        context.bit_rate = 32_000 * channels
        context.open()
        resampler = av.AudioResampler(
            context.format, context.layout, rate_hz, context.frame_size or rate_hz // 100
        )
        frame = av.AudioFrame.from_ndarray(signal(seconds, rate_hz, channels), "fltp", layout)
        frame.sample_rate, frame.pts = rate_hz, 0
        for ready in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(ready))
    return bytes(pipe.data)


def open_stream(name: str) -> AudioStream:
    return AudioStream(Declared("pcm_s16le") if name == "raw_16k" else Declared())


def chunks(data: bytes, seconds: float) -> Iterator[bytes]:
    size = max(1, round(len(data) * CHUNK_MS / 1000 / seconds))
    for at in range(0, len(data), size):
        yield data[at : at + size]


def measure_time(name: str, seconds: float, repeats: int) -> dict[str, float]:
    """Microseconds of processor time per second of audio, and per chunk."""
    data = make(name, seconds)
    cpu_us, feed_us = [], []
    for _ in range(repeats):
        stream = open_stream(name)
        started, heard = time.process_time(), 0
        for chunk in chunks(data, seconds):
            before = time.thread_time()
            decoded = stream.feed(chunk)
            feed_us.append(1e6 * (time.thread_time() - before))
            assert decoded.error is None, decoded.error
            heard += len(decoded.pcm)
        cpu_us.append(1e6 * (time.process_time() - started) / (heard / 16_000))
    return {
        "cpu_us_per_audio_s_median": round(statistics.median(cpu_us), 1),
        "cpu_us_per_audio_s_min": round(min(cpu_us), 1),
        "chunk_cpu_us_p50": round(float(np.percentile(feed_us, 50)), 1),
        "chunk_cpu_us_p99": round(float(np.percentile(feed_us, 99)), 1),
        "bytes_per_audio_s": round(len(data) / seconds),
    }


def measure_memory(name: str, streams: int) -> dict[str, float]:
    """Kilobytes and threads that each idle stream adds; run it in a fresh process."""
    beginning = list(chunks(make(name, 1.0), 1.0))[: round(500 / CHUNK_MS)]
    first = open_stream(name)
    fed = [first.feed(chunk) for chunk in beginning]
    assert not any(decoded.error for decoded in fed)
    before_kb, threads = resident_kb(), count_threads()
    kept = [open_stream(name) for _ in range(streams)]
    for stream in kept:
        for chunk in beginning:
            stream.feed(chunk)
    return {
        "kb_per_idle_stream": round((resident_kb() - before_kb) / streams, 1),
        "threads_added": count_threads() - threads,
    }


def resident_kb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def count_threads() -> int:
    return len(os.listdir("/proc/self/task"))


def head(settings: dict[str, Any]) -> dict[str, Any]:
    begun = results.head("media", settings)
    begun["machine"]["versions"]["libavcodec"] = ".".join(
        map(str, av.library_versions["libavcodec"])
    )
    return begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of audio for each format")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--streams", type=int, default=1000, help="that are open at once")
    parser.add_argument("--formats", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--output", type=Path, default=results.RESULTS / "media.json")
    options = parser.parse_args()
    settings = {"seconds": options.seconds, "repeats": options.repeats,
                "streams": options.streams, "chunk_ms": CHUNK_MS}  # fmt: skip
    report = head(settings) | {"formats": {}}
    for name in options.formats:
        row = measure_time(name, options.seconds, options.repeats)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row |= pool.apply(measure_memory, (name, options.streams))
        report["formats"][name] = row
        print(f"{name:18}", json.dumps(row))
    results.write(report, options.output)


if __name__ == "__main__":
    main()
