"""Whatever comes: no exception but a reported one, no hang, no growth."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_signals import chirp, cut, decode, wav
from media_streams import MUXINGS, Muxing, mux, muxed

from server.media.stream import AudioStream

SHORT = {
    name: mux(Muxing(how.container, how.codec, how.rate_hz, how.channels, 0.1, how.options))
    for name, how in MUXINGS.items()
}
SHORT["wav"] = wav(chirp(0.02, 48_000), 48_000, extensible=True)
SHORT["wav_mulaw"] = wav(chirp(0.1, 8_000), 8_000, "mu8")
SHORT["wav_alaw_stereo"] = wav(chirp(0.1, 8_000, 2), 8_000, "a8", extensible=True)
GOOD = wav(chirp(0.02, 16_000), 16_000)

# What may happen to a recording: bytes are overwritten, cut out or put in.
DAMAGE = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 9), st.binary(max_size=9)),
    min_size=1,
    max_size=6,
)


@given(
    name=st.sampled_from(sorted(SHORT)),
    damage=DAMAGE,
    near_header=st.booleans(),
    offsets=st.lists(st.integers(0, 10**6), max_size=5),
)
@settings(max_examples=400, deadline=None)
def test_damaged_recordings(name, damage, near_header, offsets):
    data = SHORT[name]
    for at, removed, added in damage:
        at %= min(len(data) + 1, 700 if near_header else len(data) + 1)
        data = data[:at] + added + data[at + removed :]
    stream = AudioStream()
    for chunk in cut(data, offsets):
        pcm = stream.feed(chunk).pcm
        assert pcm.dtype == np.float32
        assert not len(pcm) or np.abs(pcm).max() <= 1.0
    stream.end_segment()
    assert len(decode([GOOD], stream)) >= 320


@given(
    head=st.sampled_from(
        [b"\x1a\x45\xdf\xa3", b"OggS\0\2", b"\0\0\0\x20ftyp", b"RIFF\0\0\0\0WAVE"]
    ),
    chunks=st.lists(st.binary(max_size=200), max_size=5),
)
@settings(max_examples=300, deadline=None)
def test_anything_after_a_header(head, chunks):
    stream = AudioStream()
    for chunk in (head, *chunks):
        stream.feed(chunk)
    assert len(decode([GOOD], stream)) >= 320


BLOCK = bytes(range(256)) * 64
FOREIGN_PAGE = b"OggS\0\0" + bytes(8) + b"else" + bytes(8) + b"\xff" * 256 + bytes(255 * 255)
# A recording's beginning, and a piece that may follow for ever.
ENDLESS = {
    "unknown": (b"", BLOCK),
    "webm, a block of almost a megabyte": (
        muxed("webm_opus"),
        b"\xa3\x10\x0f\xff\xff\x81" + BLOCK,
    ),
    "webm, voids": (muxed("webm_opus"), (b"\xec\x44\x00" + bytes(1024)) * 16),
    "webm, half a header": (muxed("webm_opus")[:200], BLOCK),
    "ogg, foreign pages": (muxed("ogg_opus_pages")[:-400], FOREIGN_PAGE),
    "mp4, one endless mdat": (muxed("mp4_aac") + b"\0\0\0\0mdat", BLOCK),
    "mp4, free boxes": (muxed("mp4_aac"), (b"\0\0\x04\0free" + bytes(1016)) * 16),
    "mp4, fragments of no tracks": (muxed("mp4_aac"), (b"\0\0\x10\0moof" + bytes(4088)) * 4),
    "wav": (GOOD[:44], BLOCK),
    "wav, stereo mu-law": (wav(chirp(0, 8_000, 2), 8_000, "mu8", streaming_size=0), BLOCK[:4096]),
    "wav, chunks": (GOOD, (b"LIST\0\4\0\0" + bytes(1024)) * 16),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_stream_does_not_grow(kind):
    """At most a packet or a header of a megabyte is waited for."""
    head, piece = ENDLESS[kind]
    stream = AudioStream()
    stream.feed(head)
    tracemalloc.start()
    try:
        for chunk in repeat(piece, (8 << 20) // len(piece)):
            stream.feed(chunk)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3 << 20
