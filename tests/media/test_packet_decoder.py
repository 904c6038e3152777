from __future__ import annotations

import av
import numpy as np
import pytest
from media_signals import chirp, encode

from engine.errors import AudioError
from server.media.packet_decoder import open_decoder, to_planes
from server.media.packets import Packet, Track
from server.media.pcm import SampleLayout

OPUS = Track("opus", b"OpusHead" + bytes.fromhex("0101000080bb0000000000"), 48_000)
SILENCE = Packet(b"\xf8\xff\xfe")  # 20 ms
BAD = Packet(b"\xff" * 10)


def samples(decoder, *packets):
    return sum(len(decoder.feed(packet)) for packet in packets) + len(decoder.flush())


def test_what_is_not_to_be_heard_may_be_longer_than_a_packet():
    track = Track("opus", OPUS.config, 48_000, skip_samples=3 * 960 + 480)
    assert samples(open_decoder(track), *[SILENCE] * 5) == 5 * 320 - 3 * 320 - 160


def test_the_end_of_a_packet_may_be_cut():
    assert samples(open_decoder(OPUS), SILENCE, Packet(SILENCE.data, 480)) == 320 + 160
    assert samples(open_decoder(OPUS), SILENCE, Packet(SILENCE.data, 10**6)) == 320


def test_an_empty_packet_does_not_end_the_stream():
    assert samples(open_decoder(OPUS), SILENCE, Packet(b""), SILENCE) == 640


def test_a_damaged_packet_is_as_long_as_the_one_before():
    assert samples(open_decoder(OPUS), BAD, SILENCE, BAD, BAD, SILENCE) == 4 * 320


def test_many_damaged_packets_in_a_row_are_an_error():
    decoder = open_decoder(OPUS)
    for _ in range(3):
        samples(decoder, SILENCE, *[BAD] * 10)
    with pytest.raises(AudioError, match="in a row"):
        samples(decoder, *[BAD] * 11)


def test_a_configuration_that_the_codec_refuses():
    with pytest.raises(AudioError, match="configuration"):
        open_decoder(Track("aac", b"\xff" * 9, 48_000))


@pytest.mark.parametrize("rate_hz", [1, 16_000_000])
def test_a_rate_that_no_one_uses_is_refused(rate_hz):
    """AAC's configuration may name any rate of 24 bits; converting from 1 Hz would cost memory."""
    bits = "00010" + "1111" + f"{rate_hz:024b}" + "0001" + "000" + "0" * 8
    config = int(bits, 2).to_bytes(6, "big")
    with pytest.raises(AudioError, match="configuration"):
        open_decoder(Track("aac", config, 48_000))


def test_what_is_not_a_number_is_silence_and_leaves_the_other_channel_alone():
    planes = np.array([[np.nan, np.inf, -1e30, 0.5], [1, 0, 0, 0.25]], np.float32)
    frame = av.AudioFrame.from_ndarray(planes, "fltp", "stereo")
    tame = [[0, 1, -1, 0.5], [1, 0, 0, 0.25]]
    np.testing.assert_array_equal(to_planes(frame), tame)


def test_bare_samples():
    signal = chirp(0.02, 16_000, 2)
    layout = SampleLayout("int", 2, 2, 16_000)
    decoder = open_decoder(Track("pcm", b"", 16_000, layout=layout))
    pcm = decoder.feed(Packet(encode(signal, "s16")))
    np.testing.assert_allclose(pcm, signal.mean(axis=1), atol=1e-4)
    assert len(decoder.flush()) == 0


def test_a_track_that_stays_silent_for_long_is_damaged():
    with pytest.raises(AudioError, match="first 6 s"):
        Track("aac", b"", 48_000, skip_samples=6 * 48_000)
