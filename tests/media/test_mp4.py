from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_streams import decode_whole, muxed

from engine.errors import AudioError
from server.media.mp4 import MAX_MDAT_BYTES, Mp4Demuxer
from server.media.mp4_boxes import read_head
from server.media.packets import MAX_HEADER_BYTES
from server.media.stream import AudioStream


def box(kind: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full(kind: bytes, *bodies: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *bodies)


def u32(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


DOPS = box(b"dOps", struct.pack(">BBHIhB", 0, 1, 312, 48_000, 0, 0))


def trak(entry: bytes, track_id: int = 1, edits: bytes = b"", timescale: int = 48_000) -> bytes:
    stsd = full(b"stsd", u32(1), entry)
    mdia = box(
        b"mdia",
        full(b"mdhd", u32(0, 0, timescale, 0, 0)),
        box(b"minf", box(b"stbl", stsd)),
    )
    return box(b"trak", full(b"tkhd", u32(0, 0, track_id, 0)), edits, mdia)


def audio_entry(kind: bytes, *boxes: bytes, version: int = 0, more: bytes = b"") -> bytes:
    fields = struct.pack(">6xHH6xHHHHI", 1, version, 1, 16, 0, 0, 48_000 << 16)
    return box(kind, fields, more, *boxes)


def descriptor(tag: int, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return bytes([tag, 0x80, 0x80, len(body)]) + body


def esds(object_type: int, config: bytes, es: bytes = b"\0\1\0") -> bytes:
    decoder = descriptor(4, bytes([object_type]) + bytes(12), descriptor(5, config))
    return full(b"esds", descriptor(3, es, decoder))


OPUS = audio_entry(b"Opus", DOPS)
AAC = audio_entry(b"mp4a", esds(0x40, b"\x11\x88"))
FTYP = box(b"ftyp", b"isom", u32(0))
TREX = full(b"trex", u32(1, 1, 960, 0, 0))


def moov(*traks: bytes, mvex: bytes = TREX) -> bytes:
    return box(b"moov", *traks, box(b"mvex", mvex) if mvex else b"")


HEADER = FTYP + moov(trak(OPUS))


def fragment(
    samples: list[bytes], before: bytes = b"", base: int | None = None, columns: int = 0x200
) -> bytes:
    """moof and mdat; ``before`` lies ahead of the samples; ``columns`` as in a trun's flags."""
    fields = b"".join(
        b"".join(u32(len(s)) if flag == 0x200 else u32(9) for flag in (0x100, 0x200, 0x400, 0x800)
                 if columns & flag) for s in samples
    )  # fmt: skip
    if base is None:
        tfhd = full(b"tfhd", u32(1), flags=0x20000)
    else:
        tfhd = full(b"tfhd", u32(1), struct.pack(">Q", base), flags=1)

    def moof(offset: int) -> bytes:
        run = full(b"trun", struct.pack(">Ii", len(samples), offset), fields, flags=1 | columns)
        return box(b"moof", full(b"mfhd", u32(1)), box(b"traf", tfhd, run))

    offset = len(before) + (8 + len(moof(0)) if base is None else 0)
    return moof(offset) + box(b"mdat", before, *samples)


def packets(data: bytes) -> list[bytes]:
    return [packet.data for packet in Mp4Demuxer().feed(data)]


def track_of(data: bytes):
    demuxer = Mp4Demuxer()
    assert list(demuxer.feed(data)) == []
    return demuxer.track


def error_of(data: bytes) -> str:
    decoded = AudioStream().feed(data)
    assert decoded.error is not None
    assert decoded.error.code == "audio_undecodable"
    return str(decoded.error)


@given(
    st.lists(st.lists(st.binary(min_size=1, max_size=40), max_size=5), max_size=4),
    st.binary(max_size=20),
    st.sampled_from([0x200, 0x300, 0xF00]),
    st.integers(1, 50),
)
def test_samples_lie_where_the_fragment_says(fragments, before, columns, size):
    data = HEADER
    for samples in fragments:
        data += box(b"styp", b"msdh") + fragment(samples, before, columns=columns)
    demuxer = Mp4Demuxer()
    found = [packet.data for at in range(0, len(data), size)
             for packet in demuxer.feed(data[at : at + size])]  # fmt: skip
    assert found == [sample for samples in fragments for sample in samples]


def test_offsets_may_count_from_the_file_s_start():
    samples = [b"one", b"two"]
    size = len(fragment(samples, base=1))
    base = len(HEADER) + size - 6
    data = HEADER + fragment(samples, base=base)
    assert packets(data) == samples


def test_runs_follow_one_another_and_sizes_may_be_defaults():
    first = full(b"trun", struct.pack(">Ii", 2, 300), flags=1)
    second = full(b"trun", u32(1))
    tfhd = full(b"tfhd", u32(1, 3), flags=0x20010)
    other = box(b"traf", full(b"tfhd", u32(2)), full(b"trun", u32(1, 9), flags=0x200))
    moof = box(b"moof", other, box(b"traf", tfhd, first, second))
    mdat = box(b"mdat", bytes(300 - len(moof) - 8) + b"onetwosix" + bytes(5))
    assert packets(HEADER + moof + mdat) == [b"one", b"two", b"six"]
    by_track = FTYP + moov(trak(OPUS), mvex=full(b"trex", u32(1, 1, 960, 3, 0)))
    bare = box(b"moof", box(b"traf", full(b"tfhd", u32(1)), first, second))
    mdat = box(b"mdat", bytes(300 - len(bare) - 8) + b"onetwosix")
    assert packets(by_track + bare + mdat) == [b"one", b"two", b"six"]


def test_a_last_box_without_a_size_and_one_with_a_long_one():
    whole = fragment([b"one", b"two"])
    at = whole.index(b"mdat") - 4
    endless = whole[:at] + u32(0) + whole[at + 4 :]
    assert packets(HEADER + endless) == [b"one", b"two"]
    free = u32(1) + b"free" + struct.pack(">Q", 20) + b"long"
    assert packets(HEADER + free + whole + free) == [b"one", b"two"]


def elst(*starts: int, version: int = 0) -> bytes:
    layout = ">Iii" if not version else ">Qqi"
    edits = b"".join(struct.pack(layout, 0, start, 1 << 16) for start in starts)
    return box(b"edts", full(b"elst", u32(len(starts)), edits, version=version))


def test_what_is_not_to_be_heard():
    """Opus: the longer of pre-skip and edit list; AAC: the edit list, in its own clock."""
    assert track_of(HEADER).skip_samples == 312
    edited = FTYP + moov(trak(OPUS, edits=elst(-1, 1000), timescale=24_000))
    assert track_of(edited).skip_samples == 2000
    for version in (0, 1):
        primed = FTYP + moov(trak(AAC, edits=elst(2112, version=version), timescale=44_100))
        track = track_of(primed)
        assert (track.codec, track.rate_hz, track.skip_samples) == ("aac", 44_100, 2112)


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("es", [b"\0\1\0", b"\0\1\x80\0\2", b"\0\1\x40\3url", b"\0\1\x20\0\2"])
def test_descriptions_of_aac(version, es):
    more = bytes({0: 0, 1: 16, 2: 36}[version])
    description = esds(0x40, b"\x11\x88", es)
    entry = audio_entry(b"mp4a", description, version=version, more=more)
    assert track_of(FTYP + moov(trak(entry))).config == b"\x11\x88"
    quicktime = audio_entry(b"mp4a", box(b"wave", description), version=version, more=more)
    assert track_of(FTYP + moov(trak(quicktime))).config == b"\x11\x88"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (FTYP + moov(trak(box(b"avc1", bytes(70)))), "avc1"),
        (FTYP + moov(trak(box(b"avc1")), trak(audio_entry(b"alac"))), "avc1, alac"),
        (FTYP + moov(trak(audio_entry(b"enca"))), "encrypted audio"),
        (FTYP + moov(trak(audio_entry(b"mp4a", esds(0x6B, b"")))), "holds mp4a"),
        (FTYP + moov(), "no track"),
        (FTYP + moov(trak(OPUS), mvex=b""), "not fragmented"),
        (FTYP + box(b"mdat", b"audio"), "index at the end"),
    ],
)
def test_a_recording_that_is_not_for_us_is_named(data, words):
    message = error_of(data)
    assert words in message
    assert "MediaRecorder" in message


MANY = box(b"moof", box(b"traf", full(b"tfhd", u32(1)), full(b"trun", u32(1 << 31))))
HUGE = box(
    b"moof", box(b"traf", full(b"tfhd", u32(1)), full(b"trun", u32(1, 1 << 30), flags=0x200))
)
SHORT = box(b"moof", box(b"traf", full(b"tfhd", u32(1)), full(b"trun", u32(5, 1), flags=0x200)))
BACKWARDS = struct.pack(">Ii", 1, -100) + u32(5)
LATE = full(b"trun", BACKWARDS, flags=0x201)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (FTYP + struct.pack(">I4sQ", 1, b"free", 1 << 56), "72057594037927920 bytes"),
        (HEADER + struct.pack(">I4sQ", 1, b"mdat", 1 << 56), str(MAX_MDAT_BYTES)),
        (HEADER + struct.pack(">I4s", 1 << 30, b"moof"), "1073741816 bytes"),
        (HEADER + struct.pack(">I4s", 0, b"moof"), "unknown size"),
        (HEADER + bytes(4) + b"\0\1\2\3", "unknown size"),
        (HEADER + struct.pack(">I4s", 4, b"free"), "damaged"),
        (HEADER + struct.pack(">I4s", 9, b"\0\1\2\3"), "damaged"),
        (HEADER + MANY, "2147483648 samples"),
        (HEADER + HUGE, "1073741824 bytes"),
        (HEADER + SHORT, "too short"),
        (HEADER + box(b"moof", box(b"traf", box(b"tfhd"))), "too short"),
        (HEADER + box(b"moof", b"\0\0\0\xfftraf"), "overruns"),
        (HEADER + box(b"moof", box(b"traf", full(b"tfhd", u32(1)), LATE)) + box(b"mdat", bytes(9)),
         "outside"),
        (HEADER + fragment([b"one"])[:-11] + box(b"mdat", b"x"), "outside"),
        (HEADER + fragment([b"one"])[:-11] + fragment([b"one"]), "without its samples"),
        (FTYP + fragment([b"one"]), "before the header"),
        (FTYP + moov(trak(audio_entry(b"Opus"))), "too short"),
        (FTYP + moov(trak(OPUS, timescale=0)), "clock"),
        (FTYP + moov(trak(OPUS), mvex=full(b"trex", u32(2, 1, 0, 0, 0))), "trex"),
        (FTYP + moov(trak(AAC, edits=elst(1 << 30))), "first 22369 s"),
        (FTYP + moov(trak(audio_entry(b"mp4a", full(b"esds", b"\3\5abcde")))), "damaged"),
        (FTYP + moov(trak(audio_entry(b"mp4a", esds(0x40, b"\xff" * 9)))) + fragment([b"x"]),
         "configuration"),
    ],
)  # fmt: skip
def test_damage_is_an_error(data, words):
    assert words in error_of(data)


def test_a_header_that_never_ends_is_given_up():
    stream = AudioStream()
    stream.feed(FTYP)
    free = box(b"free", bytes(1 << 16))
    errors = [stream.feed(free).error for _ in range(MAX_HEADER_BYTES // len(free) + 2)]
    assert sum(error is not None for error in errors) == 1


def test_recordings_follow_one_another_in_one_chunk():
    one = HEADER + fragment([b"\xf8\xff\xfe"] * 10)
    assert len(AudioStream().feed(one * 3).pcm) == pytest.approx(3 * (3200 - 104), abs=40)


def test_video_beside_the_audio_is_passed():
    """One fragment with both tracks' samples in one mdat, as browsers write it."""
    header = FTYP + moov(trak(box(b"avc1", bytes(70)), 2), trak(OPUS))
    video = bytes(2 << 20)

    def moof(offset: int) -> bytes:
        ours = full(b"trun", struct.pack(">Ii", 2, offset), u32(3, 3), flags=0x201)
        theirs = full(b"trun", struct.pack(">Ii", 1, offset + 6), u32(len(video)), flags=0x201)
        return box(
            b"moof",
            box(b"traf", full(b"tfhd", u32(1)), ours),
            box(b"traf", full(b"tfhd", u32(2)), theirs),
        )

    data = moof(len(moof(0)) + 8) + box(b"mdat", b"onetwo", video)
    assert packets(header + data + data) == [b"one", b"two"] * 2


def test_after_damage_the_next_header_is_heard():
    stream = AudioStream()
    data = muxed("mp4_aac")
    assert stream.feed(data[:-9] + bytes(400)).error is not None
    pcm = stream.feed(data).pcm
    np.testing.assert_array_equal(pcm, decode_whole(data)[: len(pcm)])
    assert len(pcm) > 7900


def test_a_file_for_downloads_is_refused_with_advice():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert "index at the end" in error_of(file.getvalue())


@given(st.binary(max_size=20))
def test_any_head_is_read_or_refused(data):
    try:
        head = read_head(data)
    except AudioError:
        return
    assert head is None or (head.size or 0) >= 0
