from __future__ import annotations

import struct

import av
import pytest

from engine.errors import AudioError
from server.media.opus import opus_track, packet_samples

HEAD = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 312, 44_100, 0, 0)


def test_the_pre_skip_is_ours_to_take_off():
    track = opus_track(HEAD)
    assert (track.rate_hz, track.skip_samples) == (48_000, 312)
    assert track.config == HEAD[:10] + b"\0\0" + HEAD[12:]


@pytest.mark.parametrize(
    "head", [b"", HEAD[:18], b"OpusTags" + HEAD[8:], HEAD[:8] + b"\x10" + HEAD[9:],
             HEAD[:9] + b"\0" + HEAD[10:]],
)  # fmt: skip
def test_damaged_heads(head):
    with pytest.raises(AudioError, match="Opus"):
        opus_track(head)


@pytest.mark.parametrize("milliseconds", [2.5, 5, 10, 20, 40, 60])
@pytest.mark.parametrize("application", ["voip", "audio", "lowdelay"])
@pytest.mark.parametrize("bit_rate", [8_000, 24_000, 96_000])
def test_durations_are_those_of_an_encoder(milliseconds, application, bit_rate):
    context = av.CodecContext.create("libopus", "w")
    context.rate, context.layout, context.format = 48_000, "mono", "flt"
    context.bit_rate = bit_rate
    context.options = {"application": application, "frame_duration": str(milliseconds)}
    context.open()
    samples = round(48 * milliseconds)
    frame = av.AudioFrame("flt", "mono", samples)
    frame.planes[0].update(bytes(4 * samples))
    frame.sample_rate = 48_000
    packets = [*context.encode(frame), *context.encode(frame)]
    assert packets
    assert {packet_samples(bytes(packet)) for packet in packets} == {samples}


def test_malformed_packets_have_no_duration():
    assert packet_samples(b"") == packet_samples(b"\x03") == 0
    assert packet_samples(b"\xe3\x30") == 48 * 120
