from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_signals import chirp, chunk, cut, decode, fmt, wav

from server.media.stream import AudioStream
from server.media.wav import MAX_HEADER_BYTES

KINDS = {"u8": 2e-2, "s16": 1e-4, "s24": 1e-6, "s32": 1e-6, "f32": 1e-6, "f64": 1e-6,
         "mu8": 2e-2, "a8": 2e-2}  # fmt: skip


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_each_sample_format_is_the_mean_of_its_channels(kind, channels, extensible):
    signal = chirp(0.1, 16_000, channels)
    pcm = decode([wav(signal, 16_000, kind, extensible)])
    assert pcm.dtype == np.float32
    np.testing.assert_allclose(pcm, signal.mean(axis=1), atol=KINDS[kind])


@given(
    offsets=st.lists(st.integers(0, 10**6), max_size=12),
    kind=st.sampled_from(sorted(KINDS)),
    channels=st.integers(1, 3),
    rate_hz=st.sampled_from([8_000, 16_000, 44_100, 48_000]),
    streaming_size=st.sampled_from([None, 0, 0xFFFFFFFF, 0x7FFFFFFF]),
)
def test_cuts_change_no_sample(offsets, kind, channels, rate_hz, streaming_size):
    file = wav(chirp(0.05, rate_hz, channels), rate_hz, kind, streaming_size=streaming_size)
    np.testing.assert_array_equal(decode(cut(file, offsets)), decode([file]))


def test_one_byte_at_a_time():
    file = wav(chirp(0.02, 44_100, 2), 44_100, before=chunk(b"LIST", b"odd"))
    pieces = (file[i : i + 1] for i in range(len(file)))
    np.testing.assert_array_equal(decode(pieces), decode([file]))


@pytest.mark.parametrize("streaming_size", [None, 0, 0xFFFFFFFF])
@given(offsets=st.lists(st.integers(0, 10**6), max_size=8))
def test_files_in_a_row_are_heard_one_after_the_other(streaming_size, offsets):
    one = wav(chirp(0.02, 16_000), 16_000, streaming_size=streaming_size)
    two = wav(chirp(0.03, 16_000, 2), 16_000, "f32", streaming_size=streaming_size)
    expected = np.concatenate([decode([one]), decode([two])])
    np.testing.assert_array_equal(decode(cut(one + two, offsets)), expected)


def test_a_file_per_chunk_needs_no_sizes():
    file = wav(chirp(0.02, 16_000), 16_000, streaming_size=0)
    assert len(decode([file] * 5)) == 5 * 320


def test_an_empty_file_is_followed_by_the_next():
    file = wav(chirp(0.02, 16_000), 16_000)
    empty = wav(chirp(0, 16_000), 16_000)
    assert len(decode([empty + file + empty + file])) == 2 * 320


@pytest.mark.parametrize("body", [b"INFO", b"odd"])
def test_chunks_around_the_audio_are_not_audio(body):
    extra = chunk(b"LIST", body)
    signal = chirp(0.02, 16_000)
    plain = decode([wav(signal, 16_000)])
    odd = wav(chirp(0.02, 16_000)[:-1], 16_000, "u8", after=extra)
    np.testing.assert_array_equal(
        decode([wav(signal, 16_000, before=extra, after=extra)] * 2), np.tile(plain, 2)
    )
    assert len(decode([odd + odd])) == 2 * 319


def test_audio_is_there_as_soon_as_its_bytes_are():
    file = wav(chirp(0.1, 16_000), 16_000)
    stream = AudioStream()
    assert len(stream.feed(file[:44]).pcm) == 0
    assert len(stream.feed(file[44:47]).pcm) == 1
    assert len(stream.feed(file[47:48]).pcm) == 1


BAD = {
    "IMA ADPCM": b"\x11\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\4\0",
    "16 bits (mulaw)": b"\x07\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0",
    "0 bits (alaw)": b"\x06\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\0\0",
    "blocks of 2 bytes": b"\x07\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x08\0",
    "2000 Hz": b"\x07\0\1\0\xd0\7\0\0\xd0\7\0\0\1\0\x08\0",
    "0 channels": b"\1\0\0\0\x40\x1f\0\0\x40\x1f\0\0\0\0\x10\0",
    "4000 Hz": b"\1\0\1\0\xa0\x0f\0\0\x40\x1f\0\0\2\0\x10\0",
    "40 bits": b"\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\5\0\x28\0",
    "blocks of 9 bytes": b"\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\x09\0\x10\0",
}


@pytest.mark.parametrize("words", BAD)
def test_a_format_that_is_not_understood_is_named(words):
    decoded = AudioStream().feed(b"RIFF\0\0\0\0WAVE" + chunk(b"fmt ", BAD[words]))
    assert decoded.error is not None
    assert decoded.error.code == "audio_undecodable"
    assert words in str(decoded.error)


@pytest.mark.parametrize(
    "chunks",
    [
        chunk(b"data", b"1234"),
        chunk(b"fmt ", b"short"),
        b"fmt \xff\xff\xff\xff",
        b"\0\1\2\3\4\5\6\7",
    ],
)
def test_damaged_headers(chunks):
    assert AudioStream().feed(b"RIFF\0\0\0\0WAVE" + chunks).error is not None


def test_a_header_that_never_ends_is_given_up():
    stream = AudioStream()
    stream.feed(b"RIFF\0\0\0\0WAVE" + fmt("s16", 16_000, 1))
    block = chunk(b"JUNK", bytes(1 << 16))
    errors = [stream.feed(block).error for _ in range(MAX_HEADER_BYTES // len(block) + 2)]
    assert sum(error is not None for error in errors) == 1


def test_a_megabyte_of_tiny_chunks_takes_no_time_that_grows_with_its_square():
    """Were each chunk cut off the buffer's front by copying, this would take minutes."""
    file = wav(chirp(0.02, 16_000), 16_000)
    assert len(decode([file + chunk(b"LIST", b"") * 130_000 + file])) == 640
