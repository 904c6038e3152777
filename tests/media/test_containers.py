"""Each container against FFmpeg's own decoding of the whole file."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_signals import chirp, cut, decode, wav
from media_streams import (
    MUXINGS,
    Muxing,
    decode_whole,
    mux,
    muxed,
    recorded,
    recorded_blobs,
)

from server.media.stream import AudioStream, Declared

RECORDED = (
    "webm_opus", "webm_opus_whole", "webm_opus_paused", "webm_pcm", "webm_video",
    "mp4_opus", "mp4_opus_whole", "mp4_opus_paused",
)  # fmt: skip
TAIL = 40  # samples that the rate conversion holds back until more comes
OFFSETS = st.lists(st.integers(0, 10**6), max_size=10)


def assert_all_but_the_tail(pcm, expected):
    assert len(expected) - TAIL <= len(pcm) <= len(expected)
    np.testing.assert_array_equal(pcm, expected[: len(pcm)])


def decode_to_the_end(chunks, stream=None):
    """The next recording's header, here that of an empty one, brings the last samples."""
    return decode([*chunks, wav(chirp(0, 16_000), 16_000)], stream)


@pytest.mark.parametrize("name", MUXINGS)
def test_a_muxed_recording_is_what_ffmpeg_hears(name):
    data = muxed(name)
    expected = decode_whole(data)
    np.testing.assert_array_equal(decode_to_the_end([data]), expected, strict=True)
    assert np.abs(expected).max() > 0.3


@pytest.mark.parametrize("name", RECORDED)
def test_a_browser_s_recording_is_what_ffmpeg_hears(name):
    expected = decode_whole(recorded(name))
    assert_all_but_the_tail(decode(recorded_blobs(name)), expected)
    assert np.abs(expected).max() > 0.05


@pytest.mark.parametrize("name", MUXINGS)
@given(offsets=OFFSETS, ends=st.sets(st.integers(0, 10)))
@settings(max_examples=15, deadline=None)
def test_neither_cuts_nor_segment_ends_change_a_sample(name, offsets, ends):
    stream = AudioStream()
    pieces = []
    for index, chunk in enumerate(cut(muxed(name), offsets)):
        pieces.append(stream.feed(chunk).pcm)
        if index in ends:
            assert len(stream.end_segment().pcm) == 0
    assert_all_but_the_tail(np.concatenate(pieces), decode_whole(muxed(name)))


@pytest.mark.parametrize("name", RECORDED)
@given(offsets=OFFSETS)
@settings(max_examples=5, deadline=None)
def test_a_browser_s_recording_cut_at_random(name, offsets):
    assert_all_but_the_tail(decode(cut(recorded(name), offsets)), decode_whole(recorded(name)))


@pytest.mark.parametrize("data", [recorded("webm_opus_whole"), recorded("mp4_opus_whole")])
def test_a_browser_s_recording_one_byte_at_a_time(data):
    pieces = (data[at : at + 1] for at in range(len(data)))
    assert_all_but_the_tail(decode(pieces), decode_whole(data))


@pytest.mark.parametrize("name", MUXINGS)
def test_one_byte_at_a_time(name):
    data = muxed(name)
    pieces = (data[at : at + 1] for at in range(len(data)))
    assert_all_but_the_tail(decode(pieces), decode_whole(data))


@given(names=st.lists(st.sampled_from(sorted(MUXINGS)), min_size=2, max_size=4), offsets=OFFSETS)
@settings(max_examples=25, deadline=None)
def test_recordings_of_any_kind_follow_one_another(names, offsets):
    """Each ends where the next header begins, wherever the chunks do."""
    expected = np.concatenate([decode_whole(muxed(name)) for name in names])
    chunks = [chunk for name in names for chunk in (muxed(name),)]
    assert_all_but_the_tail(decode(chunks), expected)
    same = muxed(names[0])
    both = np.concatenate([decode_whole(same)] * 2)
    assert_all_but_the_tail(decode(cut(same + same, offsets)), both)


@pytest.mark.parametrize("name", MUXINGS)
def test_a_recorder_that_is_started_again(name):
    """The first recording breaks off anywhere; the second one is whole."""
    data = muxed(name)
    stream = AudioStream()
    first = stream.feed(data[: len(data) * 2 // 3]).pcm
    second = decode_to_the_end([data], stream)
    expected = decode_whole(data)
    assert_all_but_the_tail(second[-len(expected) :], expected)
    kept = len(first) + len(second) - len(expected)
    assert len(expected) // 2 < kept < len(expected) * 5 // 6


@pytest.mark.parametrize("name", ["webm_opus", "ogg_opus", "mp4_opus", "mp4_aac"])
def test_the_gap_of_a_paused_recorder_is_closed(name):
    how = MUXINGS[name]
    assert_all_but_the_tail(decode([mux(how, gap_s=3.0)]), decode_whole(muxed(name)))


@pytest.mark.parametrize(
    "name",
    ["webm_opus", "webm_opus_8k", "ogg_opus", "ogg_opus_stereo", "mp4_opus", "mp4_aac_primed"],
)
def test_what_was_said_at_a_time_is_heard_at_that_time(name):
    """Pre-skip and priming are taken off: the best match has no shift."""
    how = MUXINGS[name]
    pcm = decode([muxed(name)])
    said = decode([wav(chirp(how.seconds, how.rate_hz, how.channels), how.rate_hz)])
    middle = said[2000:6000]
    matches = [
        float(np.dot(pcm[2000 + shift : 6000 + shift], middle)) for shift in range(-400, 400)
    ]
    assert abs(int(np.argmax(matches)) - 400) <= 2


@pytest.mark.parametrize("name", ["webm_opus", "ogg_opus_pages", "mp4_opus_every_frame"])
def test_samples_come_with_the_packet_that_holds_them(name):
    """Half of the bytes give about half of the samples; nothing waits for the end."""
    data = muxed(name)
    assert 0.35 < len(decode([data[: len(data) // 2]])) / len(decode_whole(data)) < 0.65


@pytest.mark.parametrize("name", ["webm_opus", "mp4_opus"])
def test_each_blob_of_a_browser_is_heard_at_once(name):
    """A blob of 250 ms brings what is due, less a packet of 60 ms."""
    stream = AudioStream()
    blobs = list(recorded_blobs(name))
    heard = [len(stream.feed(blob).pcm) for blob in blobs]
    assert min(heard[1:-1]) > 0
    assert sum(heard[:6]) > 6 * 0.2 * 16_000 - 0.15 * 16_000


def test_containers_are_recognised_where_raw_samples_were_declared():
    pcm = decode([muxed("webm_opus")], AudioStream(Declared("pcm_s16le")))
    assert_all_but_the_tail(pcm, decode_whole(muxed("webm_opus")))


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads by /proc")
def test_streams_start_no_threads():
    before = len(os.listdir("/proc/self/task"))
    streams = [AudioStream() for _ in range(20)]
    for stream in streams:
        for name in ("webm_opus", "mp4_aac"):
            stream.feed(muxed(name))
    assert len(os.listdir("/proc/self/task")) == before


def test_a_small_message_cannot_ask_for_endless_samples():
    """Packets of two bytes that stand for 120 ms each, a megabyte of them."""
    how = Muxing("webm", "libopus", seconds=0.1)
    block = b"\xa3\x86\x81\0\0\0\xe3\x30"  # 48 frames of 2.5 ms, each empty
    stream = AudioStream()
    decoded = stream.feed(mux(how) + block * 120_000)
    assert decoded.error is not None
    assert "600 s" in str(decoded.error)
    assert len(decoded.pcm) < 601 * 16_000
