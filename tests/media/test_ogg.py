from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_streams import decode_whole, muxed

from server.media.ogg import OggDemuxer
from server.media.packets import MAX_HEADER_BYTES
from server.media.stream import AudioStream

HEAD = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 312, 48_000, 0, 0)
TAGS = b"OpusTags" + bytes(8)
SILENCE = b"\xf8\xff\xfe"  # 20 ms


def page(
    packets: list[bytes], flags: int = 0, granule: int = -1, serial: int = 7, is_open: bool = False
) -> bytes:
    """One page; with ``is_open`` the last packet, a multiple of 255 long, goes on."""
    lacing = b"".join(b"\xff" * (len(p) // 255) + bytes([len(p) % 255]) for p in packets)
    if is_open:
        assert len(packets[-1]) % 255 == 0
        lacing = lacing[:-1]
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, 0, 0, len(lacing))
    return head + lacing + b"".join(packets)


HEADER = page([HEAD], 2, 0) + page([TAGS], 0, 0)


def packets(data: bytes) -> list[tuple[bytes, int]]:
    return [(packet.data, packet.trim_samples) for packet in OggDemuxer().feed(data)]


def error_of(data: bytes) -> str:
    decoded = AudioStream().feed(data)
    assert decoded.error is not None
    assert decoded.error.code == "audio_undecodable"
    return str(decoded.error)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.lists(st.integers(1, 700)))
def test_packets_go_on_over_pages(open_pieces, sizes):
    long = bytes([0xFC]) + bytes(255 * 3 - 1)
    data = HEADER
    for count in open_pieces:
        data += page([b"\xf8" + bytes(254)], is_open=True)
        data += page([bytes(255)], 1, is_open=True) * count
        data += page([b"end", long], 1)
    data += page([b"\xf8" * size for size in sizes[:20]])
    expected = []
    for count in open_pieces:
        expected += [b"\xf8" + bytes(254 + 255 * count) + b"end", long]
    expected += [b"\xf8" * size for size in sizes[:20]]
    assert [data for data, _ in packets(data)] == expected


def test_a_packet_comes_before_its_page_is_complete():
    data = HEADER + page([SILENCE] * 50, 0, 48_000)
    assert len(packets(data[:-75])) == 25


def test_tags_of_any_length_up_to_a_limit_are_not_audio():
    picture = page([TAGS + bytes(255 * 200 - len(TAGS))], is_open=True)
    more = page([bytes(255 * 200)], 1, is_open=True)
    head = page([HEAD], 2, 0)
    assert packets(head + picture + more * 3 + page([b"end"], 1) + page([SILENCE])) == [
        (SILENCE, 0)
    ]
    assert str(MAX_HEADER_BYTES) in error_of(head + picture + more * 30)


def test_the_last_page_names_the_end():
    last = page([SILENCE] * 3, 4, 2 * 960 + 500)
    assert packets(HEADER + last) == [(SILENCE, 0), (SILENCE, 0), (SILENCE, 460)]
    before = page([SILENCE] * 2, 0, 100_000)
    assert packets(HEADER + before + page([SILENCE], 4, 100_100))[-1] == (SILENCE, 860)


def test_other_streams_are_passed():
    other = page([b"\x80theora"], 2, 0, serial=9)
    data = other + page([HEAD], 2, 0) + page([b"video" * 60], serial=9) + page([TAGS])
    assert packets(data + page([b"video"], serial=9) + page([SILENCE])) == [(SILENCE, 0)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (page([b"\x01vorbis"], 2) + page([b"x"]), "Vorbis"),
        (page([b"\x80theora"], 2) + page([b"\x7fFLAC"], 2) + page([b"x"]), "Theora (video), FLAC"),
        (page([b"mystery!"], 2) + page([b"x"]), "unknown codec"),
        (page([HEAD[:12]], 2), "Opus header"),
        (HEADER + b"garbage", "damaged"),
        (HEADER + page([bytes(255 * 200)], is_open=True) * 1, None),
    ],
)
def test_what_is_not_understood_is_named(data, words):
    if words is None:
        more = page([bytes(255 * 200)], 1, is_open=True)
        data, words = data + more * 30, "more than"
    assert words in error_of(data)


def test_chained_recordings():
    """Two in one chunk, the first with and without its end marked."""
    data = muxed("ogg_opus")
    assert len(AudioStream().feed(data + data).pcm) == pytest.approx(16_000, abs=40)
    unmarked = page([HEAD], 2, 0) + page([TAGS]) + page([SILENCE] * 10)
    assert len(AudioStream().feed(unmarked * 3).pcm) == pytest.approx(3 * (3200 - 104), abs=40)


def test_after_damage_the_next_header_is_heard():
    stream = AudioStream()
    data = muxed("ogg_opus_pages")
    assert stream.feed(data[: len(data) // 2] + bytes(3000)).error is not None
    pcm = stream.feed(data).pcm
    np.testing.assert_array_equal(pcm, decode_whole(data)[: len(pcm)])
    assert len(pcm) > 7900
