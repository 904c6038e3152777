from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_signals import chirp, cut, decode, encode, wav

from engine.errors import AudioError
from server.media.stream import MAX_PIECE_S, AudioStream, Declared

S16 = Declared("pcm_s16le", 48_000)
FILE = wav(chirp(0.05, 48_000), 48_000)
KINDS = {"pcm_s16le": "s16", "pcm_f32le": "f32", "mulaw": "mu8", "alaw": "a8"}


@given(
    declared_as=st.sampled_from(["pcm_s16le", "pcm_f32le", "mulaw", "alaw"]),
    channels=st.integers(1, 3),
    rate_hz=st.sampled_from([8_000, 16_000, 48_000]),
    offsets=st.lists(st.integers(0, 10**6), max_size=12),
)
def test_raw_samples_cut_anywhere(declared_as, channels, rate_hz, offsets):
    signal = chirp(0.05, rate_hz, channels)
    data = encode(signal, KINDS[declared_as])
    declared = Declared(declared_as, rate_hz, channels)
    whole = decode([data], AudioStream(declared))
    np.testing.assert_array_equal(decode(cut(data, offsets), AudioStream(declared)), whole)
    assert abs(len(whole) - 800) < 34
    if rate_hz == 16_000:
        np.testing.assert_allclose(whole, signal.mean(axis=1), atol=2e-2)


@given(
    offsets=st.lists(st.integers(0, 10**6), min_size=1, max_size=9),
    ends=st.sets(st.integers(0, 9)),
    is_raw=st.booleans(),
)
def test_segment_ends_change_no_sample_of_a_recording_that_goes_on(offsets, ends, is_raw):
    data = encode(chirp(0.05, 48_000), "s16") if is_raw else FILE
    declared = S16 if is_raw else Declared()
    stream = AudioStream(declared)
    pieces = []
    for index, chunk in enumerate(cut(data, offsets)):
        pieces.append(stream.feed(chunk).pcm)
        if index in ends:
            pieces.append(stream.end_segment().pcm)
    np.testing.assert_array_equal(np.concatenate(pieces), decode([data], AudioStream(declared)))


@pytest.mark.parametrize("kind", ["raw", "wav", "many wavs"])
def test_a_long_chunk_comes_in_pieces_that_join_to_the_same(kind):
    if kind == "many wavs":
        data, declared = FILE * 400, Declared()
    else:
        samples = encode(chirp(40, 8_000), "s16")
        data = samples if kind == "raw" else wav(chirp(40, 8_000), 8_000)
        declared = Declared("pcm_s16le", 8_000) if kind == "raw" else Declared()
    pieces = list(AudioStream(declared).pieces(data))
    assert max(len(piece.pcm) for piece in pieces) <= MAX_PIECE_S * 16_000
    assert len(pieces) >= 2
    whole = decode([data], AudioStream(declared))
    np.testing.assert_array_equal(np.concatenate([piece.pcm for piece in pieces]), whole)
    seconds = 400 * 0.05 if kind == "many wavs" else 40
    assert abs(len(whole) - seconds * 16_000) < 34


def test_wild_floats_are_tamed():
    wild = np.array([np.nan, np.inf, -np.inf, 7, -7, 0.5], "<f4").tobytes()
    pcm = decode([wild], AudioStream(Declared("pcm_f32le", 16_000)))
    np.testing.assert_array_equal(pcm, np.array([0, 1, -1, 1, -1, 0.5], np.float32))


def test_a_container_is_recognised_even_where_raw_samples_were_declared():
    np.testing.assert_array_equal(decode(cut(FILE, [3, 9]), AudioStream(S16)), decode([FILE]))


def test_raw_samples_too_few_to_be_recognised_come_at_the_end_of_the_segment():
    stream = AudioStream(Declared("pcm_s16le", 16_000))
    assert len(stream.feed(b"RIFF").pcm) == 0
    assert len(stream.end_segment().pcm) == 2
    assert len(stream.feed(b"RIFF").pcm) == 2


def test_a_rate_out_of_range_is_refused():
    with pytest.raises(AudioError, match="192000"):
        AudioStream(Declared("pcm_s16le", 1_000_000))


def test_unknown_content_says_what_to_send():
    error = AudioStream().feed(bytes(100)).error
    assert error is not None
    for word in ("WAV", "pcm_s16le", "mulaw", "alaw", '"audio"', "00 00 00"):
        assert word in str(error)
    assert "FLAC" in str(AudioStream().feed(b"fLaC" + bytes(100)).error)


@pytest.mark.parametrize(
    "head",
    [
        b"\x1f\x43\xb6\x75\x01\xff\xff\xff",  # a cluster of WebM
        b"\xa3\x41\x02\x81\x00\x00\x80",  # a block of WebM
        b"OggS\0\0",
        b"OggS\0\1",
        b"\0\0\0\x64moof",
        b"\0\0\0\x64mdat",
        b"\x17\xfe\x03 anywhere in a recording",
    ],
)
def test_a_recording_without_its_header_is_told_to_begin_anew(head):
    stream = AudioStream()
    error = stream.feed(head + bytes(40)).error
    assert error is not None
    assert "begin a new recording" in str(error)
    anywhere = b"anywhere" in head  # known by nothing
    assert ("its header is missing" in str(error)) is not anywhere
    np.testing.assert_array_equal(decode([FILE], stream), decode([FILE]))
    assert "new recording" not in str(AudioStream().feed(b"ID3" + bytes(40)).error)


def test_after_an_error_the_next_good_header_is_heard():
    stream = AudioStream()
    assert stream.feed(b"garbage garbage").error is not None
    dropped = stream.feed(b"more garbage")
    assert (len(dropped.pcm), dropped.error) == (0, None)
    np.testing.assert_array_equal(decode([FILE], stream), decode([FILE]))


@given(st.lists(st.integers(0, 10**6), max_size=9))
def test_the_next_good_header_may_be_cut(offsets):
    stream = AudioStream()
    stream.feed(b"garbage garbage")
    np.testing.assert_array_equal(decode(cut(FILE, offsets), stream), decode([FILE]))


def test_each_segment_in_which_bytes_are_dropped_reports_it_once():
    stream = AudioStream()
    for _ in range(3):
        assert stream.feed(b"garbage garbage").error is not None
        assert stream.feed(b"garbage garbage").error is None
        assert stream.end_segment().error is None
    assert stream.end_segment().error is None


def test_audio_before_an_error_is_kept():
    stream = AudioStream()
    decoded = stream.feed(FILE + b"\0\1\2\3\4\5\6\7\x08")
    assert decoded.error is not None
    assert len(decoded.pcm) == 800


def test_a_new_header_ends_a_file_that_was_cut_short():
    stream = AudioStream()
    first = stream.feed(FILE[:-400]).pcm
    rest = stream.feed(FILE).pcm
    assert len(first) + len(rest) == pytest.approx(1600 - 200 / 3, abs=1)


@pytest.mark.parametrize("length", [1, 11, 12, 30, 43])
def test_a_header_without_its_end_is_reported_and_may_go_on(length):
    stream = AudioStream()
    assert stream.feed(FILE[:length]).error is None
    error = stream.end_segment().error
    assert error is not None
    assert "header" in str(error)
    assert stream.end_segment().error is None
    np.testing.assert_array_equal(decode([FILE[length:]], stream), decode([FILE]))


def test_raw_stereo_of_opposite_phase_is_heard():
    signal = chirp(0.5, 16_000)
    stereo = encode(np.concatenate([signal, -signal], axis=1), "s16")
    pcm = decode([stereo], AudioStream(Declared("pcm_s16le", 16_000, 2)))
    np.testing.assert_allclose(pcm[1000:], signal[1000:, 0], atol=1e-4)


@given(
    st.lists(st.binary(max_size=60), max_size=12),
    st.sampled_from([Declared(), S16, Declared("mulaw", 8_000), Declared("alaw", 11_025, 2)]),
)
def test_no_bytes_raise_anything(chunks, declared):
    stream = AudioStream(declared)
    for chunk in chunks:
        pcm = stream.feed(chunk).pcm
        assert pcm.dtype == np.float32
        assert not len(pcm) or np.abs(pcm).max() <= 1.0
        stream.end_segment()
