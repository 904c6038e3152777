"""A coverage-guided fuzzer for ``server.media``; pytest does not collect it.

    pip install atheris
    python tests/media/fuzz_media.py -max_total_time=180            # bytes to samples
    python tests/media/fuzz_media.py parsers -max_total_time=180    # bytes to packets, quicker

It writes its corpus into a temporary folder, starting from the recordings of the tests, and
libFuzzer's own options are passed on. What it finds belongs into ``test_media_fuzz.py``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import atheris
import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

with atheris.instrument_imports(include=["server.media"]):
    from engine.errors import AudioError
    from server.media.mp4 import Mp4Demuxer
    from server.media.ogg import OggDemuxer
    from server.media.packets import MAX_HEADER_BYTES
    from server.media.stream import AudioStream, Declared
    from server.media.webm import WebmDemuxer

from media_signals import chirp, wav  # noqa: E402
from media_streams import MUXINGS, Muxing, mux, recorded  # noqa: E402

SEED_BYTES = 3000
RAW = (
    Declared("pcm_s16le"),
    Declared("pcm_f32le", 48_000, 2),
    Declared("mulaw", 8_000),
    Declared("alaw", 8_000, 2),
)


def chunks(data: bytes) -> Iterator[bytes]:
    """The first byte says where to cut."""
    size = (data[0] & 127) ** 2 + 1
    for at in range(1, len(data), size):
        yield data[at : at + size]


def decode(data: bytes) -> None:
    """Bytes to samples, which must be finite and within full scale."""
    if not data:
        return
    stream = AudioStream(RAW[data[0] >> 4 & 3] if data[0] & 128 else Declared())
    for chunk in chunks(data):
        pcm = stream.feed(chunk).pcm
        assert not len(pcm) or np.abs(pcm).max() <= 1.0
        if data[0] & 64:
            stream.end_segment()
    stream.end_segment()


def parse(data: bytes) -> None:
    """Bytes to packets; every container is tried, whatever the bytes look like."""
    if not data:
        return
    for demuxer in (WebmDemuxer(), OggDemuxer(), Mp4Demuxer()):
        try:
            for chunk in chunks(data):
                packets = sum(1 for _ in demuxer.feed(chunk))
                assert packets <= MAX_HEADER_BYTES
                assert packets == 0 or demuxer.track is not None
                if demuxer.take_rest() is not None:
                    break
        except AudioError:
            continue


def write_seeds(folder: Path) -> None:
    seeds = {name: mux(Muxing(how.container, how.codec, seconds=0.1, options=how.options))
             for name, how in MUXINGS.items()}  # fmt: skip
    for name in ("webm_opus", "webm_pcm", "webm_video", "mp4_opus"):
        seeds[f"recorded_{name}"] = recorded(name)
    seeds["wav"] = wav(chirp(0.02, 48_000), 48_000, extensible=True)
    seeds["wav_mulaw"] = wav(chirp(0.1, 8_000), 8_000, "mu8")
    seeds["wav_alaw"] = wav(chirp(0.1, 8_000, 2), 8_000, "a8", extensible=True)
    for name, data in seeds.items():
        for cut in (b"\x7f", b"\x05", b"\x41"):
            (folder / f"{name}_{cut[0]}").write_bytes(cut + data[:SEED_BYTES])


def main() -> None:
    with tempfile.TemporaryDirectory() as corpus:
        write_seeds(Path(corpus))
        arguments = [option for option in sys.argv[1:] if option != "parsers"]
        target = parse if "parsers" in sys.argv else decode
        options = ["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", *arguments]
        atheris.Setup([sys.argv[0], *options, corpus], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
