"""A coverage-guided fuzzer for ``server.media``; pytest does not collect it.

    pip install atheris
    python tests/media/fuzz_media.py -max_total_time=180

It writes its corpus into a temporary folder, starting from the recordings of the tests, and
libFuzzer's own options are passed on. What it found is in ``test_media_fuzz.py``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

with atheris.instrument_imports(include=["server.media"]):
    from server.media.stream import AudioStream, Declared

from media_signals import chirp, wav  # noqa: E402
from media_streams import MUXINGS, Muxing, mux, recorded  # noqa: E402

SEED_BYTES = 3000


def feed_all(data: bytes) -> None:
    """The first byte says where to cut, and whether raw samples were declared."""
    if not data:
        return
    stream = AudioStream(Declared("pcm_s16le") if data[0] & 128 else Declared())
    size = (data[0] & 127) ** 2 + 1
    for at in range(1, len(data), size):
        stream.feed(data[at : at + size])
        if data[0] & 64:
            stream.end_segment()
    stream.end_segment()


def write_seeds(folder: Path) -> None:
    seeds = {name: mux(Muxing(how.container, how.codec, seconds=0.1, options=how.options))
             for name, how in MUXINGS.items()}  # fmt: skip
    for name in ("webm_opus", "webm_pcm", "webm_video", "mp4_opus"):
        seeds[f"recorded_{name}"] = recorded(name)
    seeds["wav"] = wav(chirp(0.02, 48_000), 48_000, extensible=True)
    for name, data in seeds.items():
        for cut in (b"\x7f", b"\x05", b"\x41"):
            (folder / f"{name}_{cut[0]}").write_bytes(cut + data[:SEED_BYTES])


def main() -> None:
    with tempfile.TemporaryDirectory() as corpus:
        write_seeds(Path(corpus))
        options = ["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", *sys.argv[1:]]
        atheris.Setup([sys.argv[0], *options, corpus], feed_all)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
