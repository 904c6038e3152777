from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_streams import decode_whole, muxed, recorded

from engine.errors import AudioError
from server.media.ebml import children, read_head, read_vint, to_float
from server.media.packets import MAX_HEADER_BYTES
from server.media.stream import AudioStream
from server.media.webm import WebmDemuxer
from server.media.webm_block import block_frames

OPUS_HEAD = b"OpusHead\x01\x01\x00\x00\x80\xbb\x00\x00\x00\x00\x00"
UNKNOWN = b"\x01" + b"\xff" * 7


def element(kind: int, body: bytes) -> bytes:
    head = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    return head + (len(body) | 1 << 56).to_bytes(8, "big") + body


def track(codec: bytes = b"A_OPUS", number: int = 1, kind: int = 2, more: bytes = b"") -> bytes:
    return element(
        0xAE,
        element(0xD7, bytes([number]))
        + element(0x83, bytes([kind]))
        + element(0x86, codec)
        + element(0x63A2, OPUS_HEAD)
        + more,
    )


EBML = element(0x1A45DFA3, element(0x4282, b"webm"))
SEGMENT = b"\x18\x53\x80\x67" + UNKNOWN
CLUSTER = b"\x1f\x43\xb6\x75" + UNKNOWN + element(0xE7, b"\0")
HEADER = EBML + SEGMENT + element(0x1654AE6B, track())


def simple_block(payload: bytes, number: int = 1, flags: int = 0) -> bytes:
    return element(0xA3, bytes([0x80 | number, 0, 0, flags]) + payload)


def packets(data: bytes) -> list[bytes]:
    return [packet.data for packet in WebmDemuxer().feed(data)]


def error_of(data: bytes) -> str:
    decoded = AudioStream().feed(data)
    assert decoded.error is not None
    assert decoded.error.code == "audio_undecodable"
    return str(decoded.error)


def test_only_the_blocks_of_the_chosen_track_are_packets():
    video = track(b"V_VP8", 2, 1)
    header = EBML + SEGMENT + element(0x1654AE6B, video + track())
    group = element(0xA0, element(0xA1, b"\x81\0\0\0three") + element(0x9B, b"\x14"))
    foreign = element(0xA0, element(0xA1, b"\x82\0\0\0" + bytes(2 << 20)))
    data = header + CLUSTER + simple_block(b"one") + simple_block(bytes(2 << 20), 2)
    data += foreign + simple_block(b"two") + CLUSTER + group
    assert packets(data) == [b"one", b"two", b"three"]
    demuxer = WebmDemuxer()
    at_once = [packet.data for at in range(0, len(data), 999)
               for packet in demuxer.feed(data[at : at + 999])]  # fmt: skip
    assert at_once == [b"one", b"two", b"three"]


def test_what_no_one_hears_is_skipped():
    extras = element(0xEC, bytes(100)) + element(0x1254C367, b"tags") + element(0xBF, bytes(4))
    data = EBML + extras + SEGMENT + extras + element(0x1654AE6B, track()) + CLUSTER + extras
    assert packets(data + simple_block(b"one") + extras) == [b"one"]


def test_the_discard_padding_ends_the_last_packet():
    group = element(0xA0, element(0xA1, b"\x81\0\0\0one") + element(0x75A2, b"\x00\xcd\xfe\x60"))
    (packet,) = WebmDemuxer().feed(HEADER + CLUSTER + group)
    assert packet.trim_samples == round(0x00CDFE60 * 48e-6)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (track(b"V_VP9", kind=1), "V_VP9"),
        (track(b"A_VORBIS") + track(b"V_VP8", kind=1), "A_VORBIS, V_VP8"),
        (track(more=element(0x6D80, element(0x6240, element(0x5035, b"")))), "encrypted A_OPUS"),
        (track(more=element(0x6D80, element(0x6240, element(0x5034, b"")))), "compressed A_OPUS"),
        (b"", "no track"),
    ],
)
def test_a_recording_without_a_track_for_us_names_what_it_holds(more, words):
    message = error_of(EBML + SEGMENT + element(0x1654AE6B, more))
    assert words in message
    assert "audio/webm;codecs=opus" in message


def test_chromium_s_video_without_audio_is_named():
    assert "V_VP8" in error_of(recorded("webm_video_only"))


ABSURD = (1 << 56 | (1 << 56) - 2).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HEADER + CLUSTER + b"\xa3" + ABSURD + b"\x81" + bytes(50), "72057594037927934 bytes"),
        (EBML + SEGMENT + b"\xec" + ABSURD + bytes(50), "72057594037927934 bytes"),
        (EBML + SEGMENT + b"\x16\x54\xae\x6b" + ABSURD + bytes(50), "72057594037927934 bytes"),
        (EBML + SEGMENT + b"\x16\x54\xae\x6b" + UNKNOWN, "unknown size"),
        (HEADER + CLUSTER + b"\xa3" + UNKNOWN + b"\x81" + bytes(50), "unknown size"),
        (HEADER + CLUSTER + bytes(50), "damaged"),
        (HEADER + b"\x12\x34\x56\x78\x80", "0x12345678"),
        (HEADER + CLUSTER + simple_block(b"", flags=6), "damaged"),
        (HEADER + CLUSTER + element(0xA3, b"\x81"), "damaged"),
        (EBML + SEGMENT + CLUSTER + simple_block(b"one"), "before its list of tracks"),
        (EBML + SEGMENT + element(0x1654AE6B, b"\xae\xff"), "damaged"),
        (EBML + SEGMENT + element(0x1654AE6B, b"\xae\x90abc"), "overruns"),
        (element(0x1A45DFA3, element(0x4282, b"rawcooked")), "rawcooked"),
        (EBML + SEGMENT + element(0x1654AE6B, track(b"A_PCM/INT/LIT")), "0 bits"),
    ],
)
def test_damage_is_an_error(data, words):
    assert words in error_of(data)


def test_a_header_that_never_ends_is_given_up():
    stream = AudioStream()
    stream.feed(EBML + SEGMENT)
    void = element(0xEC, bytes(1 << 16))
    errors = [stream.feed(void).error for _ in range(MAX_HEADER_BYTES // len(void) + 2)]
    assert sum(error is not None for error in errors) == 1


def test_after_damage_the_next_header_is_heard():
    stream = AudioStream()
    data = muxed("webm_opus")
    damaged = stream.feed(data[: len(data) // 2] + bytes(400))
    assert damaged.error is not None
    assert len(damaged.pcm) > 2000
    assert len(stream.feed(b"\xa3\x84garb").pcm) == 0
    pcm = stream.feed(data).pcm
    np.testing.assert_array_equal(pcm, decode_whole(data)[: len(pcm)])
    assert len(pcm) > 7000


def test_a_packet_that_does_not_decode_is_silence_and_many_are_an_error():
    data = muxed("webm_opus")
    bad = simple_block(b"\xff" * 10)
    stream = AudioStream()
    good = len(stream.feed(data).pcm)
    assert stream.feed(CLUSTER + bad * 5).error is None
    decoded = stream.feed(bad * 6)
    assert decoded.error is not None
    assert "in a row" in str(decoded.error)
    assert good == pytest.approx(8000, abs=40)


# ---- lacing --------------------------------------------------------------------------------

FRAMES = st.lists(st.binary(max_size=600), min_size=1, max_size=9)


def vint(value: int, length: int) -> bytes:
    return (value | 1 << 7 * length).to_bytes(length, "big")


def lace(frames: list[bytes], kind: str) -> bytes:
    head = bytes([0x81, 0, 0, {"none": 0, "xiph": 2, "fixed": 4, "ebml": 6}[kind]])
    if kind == "none":
        return head + frames[0]
    sizes = b""
    if kind == "xiph":
        sizes = b"".join(b"\xff" * (len(f) // 255) + bytes([len(f) % 255]) for f in frames[:-1])
    elif kind == "ebml":
        lengths = [len(frame) for frame in frames[:-1]]
        sizes = b"".join(vint(size, 2) for size in lengths[:1])
        steps = itertools.pairwise(lengths)
        sizes += b"".join(vint(new - old + (1 << 13) - 1, 2) for old, new in steps)
    return head + bytes([len(frames) - 1]) + sizes + b"".join(frames)


@given(frames=FRAMES, kind=st.sampled_from(["xiph", "ebml"]))
def test_laced_frames(frames, kind):
    assert block_frames(lace(frames, kind)) == frames


@given(count=st.integers(1, 9), frame=st.binary(max_size=50))
def test_frames_of_one_size(count, frame):
    assert block_frames(lace([frame] * count, "fixed")) == [frame] * count


@given(st.binary(max_size=40))
def test_any_block_is_split_or_refused(tail):
    for flags in (0, 2, 4, 6):
        block = bytes([0x81, 0, 0, flags]) + tail
        try:
            frames = block_frames(block)
        except AudioError:
            continue
        assert block.endswith(b"".join(frames))


# ---- EBML ----------------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(0))
def test_integers_of_any_length(length, value):
    value %= 1 << 7 * length
    coded = vint(value, length)
    assert read_vint(coded + b"more") == (value | 1 << 7 * length, length)
    assert all(read_vint(coded[:cut]) is None for cut in range(length))


def test_heads():
    assert read_head(b"\x1f\x43\xb6\x75\xff").size is None
    assert read_head(b"\xa3\x40\x02").size == 2
    assert read_head(b"\xa3") is None
    with pytest.raises(AudioError):
        read_head(b"\x08\0\0\0\0\0")
    assert list(children(b"\xa3\x82ab\xec\x80")) == [(0xA3, b"ab"), (0xEC, b"")]


def test_floats():
    assert to_float(b"\x47\x3b\x80\x00") == to_float(b"\x40\xe7\x70\0\0\0\0\0") == 48_000
    assert to_float(b"") == 0
