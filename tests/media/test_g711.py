"""G.711 against other decoders: Python's own, where it still has one, and FFmpeg's."""

from __future__ import annotations

import sys
import warnings

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from hypothesis import given
from hypothesis import strategies as st
from media_signals import chirp, cut, decode, encode, wav
from media_streams import decode_whole

from server.media.g711 import ALAW, MULAW
from server.media.stream import AudioStream, Declared

CODES = bytes(range(256))
TABLES = {"mulaw": MULAW, "alaw": ALAW}
KINDS = {"mulaw": "mu8", "alaw": "a8"}
RATES = [8_000, 11_025, 16_000, 48_000, 192_000]


@pytest.mark.parametrize("law", TABLES)
def test_each_code_is_what_ffmpeg_makes_of_it(law):
    context = av.CodecContext.create(f"pcm_{law}", "r")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout = 8_000, "mono"
    (frame,) = context.decode(av.Packet(CODES))
    np.testing.assert_array_equal(TABLES[law] * 32768, frame.to_ndarray()[0])


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Python has no audioop any more")
@pytest.mark.parametrize(("law", "name"), [("mulaw", "ulaw2lin"), ("alaw", "alaw2lin")])
def test_each_code_is_what_python_makes_of_it(law, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import audioop
    expected = np.frombuffer(getattr(audioop, name)(CODES, 2), np.int16)
    np.testing.assert_array_equal(TABLES[law] * 32768, expected)


def test_values_of_the_recommendation():
    """ITU-T G.711, tables 1a and 2a: the decision values of 14 and of 13 bits, in 16 bits."""
    assert [MULAW[code] * 32768 for code in (0x00, 0x7F, 0x80, 0xFF)] == [-32124, 0, 32124, 0]
    assert [ALAW[code] * 32768 for code in (0x2A, 0x55, 0xAA, 0xD5)] == [-32256, -8, 32256, 8]
    for table in TABLES.values():
        assert table.dtype == np.float32
        np.testing.assert_array_equal(np.sort(table), -np.sort(table)[::-1])


@given(
    law=st.sampled_from(sorted(TABLES)),
    rate_hz=st.sampled_from(RATES),
    channels=st.integers(1, 3),
    extensible=st.booleans(),
    streaming_size=st.sampled_from([None, 0, 0xFFFFFFFF]),
    seconds=st.floats(0.01, 0.05),
    offsets=st.lists(st.integers(0, 10**6), max_size=8),
)
def test_raw_samples_and_a_file_are_the_same_signal(
    law, rate_hz, channels, extensible, streaming_size, seconds, offsets
):
    signal = chirp(seconds, rate_hz, channels)
    file = wav(signal, rate_hz, KINDS[law], extensible, streaming_size)
    raw = decode([encode(signal, KINDS[law])], AudioStream(Declared(law, rate_hz, channels)))
    heard = decode(cut(file, offsets))
    # A file whose size is known ends with its last byte, and its last samples come at once.
    np.testing.assert_array_equal(heard[: len(raw)], raw)
    assert len(heard) - len(raw) <= 40


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("law", TABLES)
def test_a_file_is_what_ffmpeg_hears(law, rate_hz):
    file = wav(chirp(0.3, rate_hz), rate_hz, KINDS[law])
    np.testing.assert_array_equal(decode([file]), decode_whole(file), strict=True)


@pytest.mark.parametrize("law", TABLES)
def test_a_byte_that_is_not_audio_does_not_exist(law):
    pcm = decode([CODES * 4], AudioStream(Declared(law, 16_000)))
    np.testing.assert_array_equal(pcm, np.tile(TABLES[law], 4))
