"""Whatever comes: no exception but a reported one, no hang, no growth."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import islice, repeat

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


def endless(kind: str):
    """A recording's beginning, and a piece that may follow for ever."""
    block = bytes(range(256)) * 64
    return {
        "unknown": (b"", block),
        "webm, a block that does not end": (
            muxed("webm_opus"),
            b"\xa3\x10\x0f\xff\xff\x81" + block,
        ),
        "webm, voids": (muxed("webm_opus"), b"\xec\x40\x00" * 300),
        "webm, half a header": (muxed("webm_opus")[:200], block),
        "ogg, foreign pages": (
            muxed("ogg_opus_pages")[:-400],
            b"OggS\0\0"
            + bytes(8)
            + b"else"
            + bytes(8)
            + b"\xff"
            + b"\xff" * 255
            + bytes(255 * 255),
        ),
        "mp4, one endless mdat": (muxed("mp4_aac") + b"\0\0\0\0mdat", block),
        "mp4, free boxes": (muxed("mp4_aac"), b"\0\0\0\x09free\0" * 200),
        "mp4, many empty tracks": (muxed("mp4_aac"), b"\0\0\x10\0moof" + bytes(4088)),
        "wav": (GOOD[:44], block),
        "wav, chunks": (GOOD, b"LIST\4\0\0\0INFO" * 100),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "unknown", "webm, a block that does not end", "webm, voids", "webm, half a header",
        "ogg, foreign pages", "mp4, one endless mdat", "mp4, free boxes",
        "mp4, many empty tracks", "wav", "wav, chunks",
    ],
)  # fmt: skip
def test_an_endless_stream_does_not_grow(kind):
    head, piece = endless(kind)
    stream = AudioStream()
    stream.feed(head)
    pieces = repeat(piece)
    tracemalloc.start()
    try:
        for chunk in islice(pieces, 200):
            stream.feed(chunk)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3 << 20
