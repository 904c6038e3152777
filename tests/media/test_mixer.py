"""Channels that cancel each other: one of them is heard, whatever the rest of the signal does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_signals import Samples, chirp, cut, decode, encode, voice, wav
from media_streams import MUXINGS, mux

from server.media.channel_choice import MIX, ChannelChoice
from server.media.mixer import Mixer
from server.media.pcm import PcmDecoder, SampleLayout
from server.media.stream import AudioStream

RATE_HZ = 16_000
VOICE = voice(3.0, RATE_HZ)
OTHER = voice(3.0, RATE_HZ, pitch_hz=210.0)
NOISE = np.random.default_rng(1).standard_normal((len(VOICE), 2))
LEVEL = float(np.sqrt(np.mean(VOICE**2)))
# The first word of a signal that cancels is cut short by so much, once for each stream.
ONSET = round(0.1 * RATE_HZ)


def planes(*channels: Samples) -> np.ndarray:
    return np.stack(channels).astype(np.float32)


def mixed(*channels: Samples, rate_hz: int = RATE_HZ) -> np.ndarray:
    return Mixer(len(channels), rate_hz).feed(planes(*channels))


def mean(*channels: Samples) -> np.ndarray:
    return (sum(planes(*channels)) * np.float32(1 / len(channels))).astype(np.float32)


def likeness(pcm: np.ndarray, reference: Samples) -> float:
    """1.0 for the same signal at any level and in either phase."""
    product = float(np.dot(pcm, reference) / np.linalg.norm(pcm) / np.linalg.norm(reference))
    return abs(product)


def steps(pcm: np.ndarray) -> float:
    """The largest jump from one sample to the next."""
    return float(np.abs(np.diff(pcm)).max())


def choices(*channels: Samples) -> list[int]:
    """What was chosen, in blocks of 40 ms, each choice once."""
    mixer = Mixer(len(channels), RATE_HZ)
    seen = [MIX]
    for at in range(0, len(channels[0]), 640):
        mixer.feed(planes(*(channel[at : at + 640] for channel in channels)))
        if mixer._now != seen[-1]:
            seen.append(mixer._now)
    return seen


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000, 192_000])
def test_opposite_phase_is_heard_as_one_channel(rate_hz):
    said = voice(2.0, rate_hz)
    pcm = mixed(said, -said, rate_hz=rate_hz)
    onset = round(0.1 * rate_hz)
    np.testing.assert_array_equal(pcm[onset:], said[onset:].astype(np.float32))


@pytest.mark.parametrize("gain", [-0.5, -0.8, -1.25, -2.0])
def test_the_louder_of_two_is_taken(gain):
    pcm = mixed(VOICE, gain * VOICE)
    louder = VOICE if abs(gain) < 1 else gain * VOICE
    np.testing.assert_array_equal(pcm[ONSET:], louder[ONSET:].astype(np.float32))


@pytest.mark.parametrize("snr_db", [20, 10, 6])
def test_noise_of_each_channel_s_own_hides_no_cancellation(snr_db):
    noise = NOISE * LEVEL / 10 ** (snr_db / 20)
    pcm = mixed(VOICE + noise[:, 0], -VOICE + noise[:, 1])
    alone = likeness(VOICE + noise[:, 0], VOICE)
    assert likeness(pcm, VOICE) > 0.97 * alone


def test_a_second_channel_that_is_partly_the_first():
    """The mean of channels that agree in half of their energy or more is left as it is."""
    for agreement in (0.5, 0.7, 0.9):
        second = agreement * VOICE + (1 - agreement) * OTHER
        np.testing.assert_array_equal(mixed(VOICE, second), mean(VOICE, second))


@pytest.mark.parametrize(
    "channels",
    [
        (VOICE, VOICE),
        (VOICE, 0.3 * VOICE),
        (VOICE, np.zeros_like(VOICE)),
        (np.zeros_like(VOICE), VOICE),
        (VOICE, NOISE[:, 0] * 1e-3),
        (VOICE, OTHER),
        (VOICE, OTHER * (np.arange(len(VOICE)) > 16_000)),
        (VOICE, np.roll(VOICE, 5)),
        (VOICE, np.roll(VOICE, 400)),
        (NOISE[:, 0] * 0.1, NOISE[:, 1] * 0.1),
        (NOISE[:, 0] * 2e-5, NOISE[:, 0] * -2e-5),
        (VOICE, *[np.zeros_like(VOICE)] * 5),
        (VOICE, OTHER, NOISE[:, 0] * 0.01),
        (np.zeros_like(VOICE),) * 2,
    ],
    ids=[
        "equal", "panned", "right one dead", "left one dead", "right one hisses",
        "two talkers", "the second comes in later", "0.3 ms late", "25 ms late", "noise",
        "dither of opposite phase", "one of six", "two of three and noise", "silence",
    ],
)  # fmt: skip
def test_what_does_not_cancel_is_the_mean_and_nothing_else(channels):
    np.testing.assert_array_equal(mixed(*channels), mean(*channels))


@pytest.mark.parametrize("offset", [0.0, 0.1, -0.3])
def test_an_offset_or_a_hum_in_both_channels_hides_no_cancellation(offset):
    hum = 0.02 * np.sin(2 * np.pi * 50 * np.arange(len(VOICE)) / RATE_HZ)
    pcm = mixed(VOICE + hum + offset, -VOICE + hum + offset)
    np.testing.assert_allclose(pcm[8000:], (VOICE + hum + offset)[8000:], atol=1e-6)


@pytest.mark.parametrize("signs", [(1, -1, 0), (1, -1, 1, -1), (1, 1, -2), (0, 0, 0, 1, 0, -1)])
def test_more_than_two_channels(signs):
    pcm = mixed(*(sign * VOICE for sign in signs))
    loudest = max(signs, key=abs)
    np.testing.assert_array_equal(pcm[ONSET:], (loudest * VOICE)[ONSET:].astype(np.float32))


def test_two_pairs_that_cancel_are_both_heard():
    """The chosen channel falls silent while another pair speaks."""
    half = len(VOICE) // 2
    first, second = VOICE.copy(), OTHER.copy()
    first[half:], second[:half] = 0, 0
    pcm = mixed(first, -first, second, -second)
    assert likeness(pcm[:half], first[:half]) > 0.95
    rest = half + round(0.4 * RATE_HZ)
    assert likeness(pcm[rest:], second[rest:]) > 0.95


@pytest.mark.parametrize("back", [False, True])
def test_a_switch_in_mid_stream(back):
    """Phase turns in the middle of a recording, or turns back: little is lost, nothing clicks."""
    said = np.tile(VOICE, 4)
    half = len(said) // 2
    second = np.where(np.arange(len(said)) < half, 1, -1) * (-1 if back else 1) * said
    pcm = mixed(said, second)
    for part in (slice(0, half), slice(half, None)):
        assert likeness(pcm[part], said[part]) > 0.97
    assert np.linalg.norm(pcm) > 0.97 * np.linalg.norm(said)
    assert steps(pcm) < 1.2 * steps(VOICE)
    assert choices(said, second) == ([MIX, 0, MIX] if back else [MIX, 0])


def test_a_word_that_cancels_in_part_is_heard_through_one_channel():
    """Phases turn ten times a second: one change for the whole, not one for each."""
    turning = np.sign(np.sin(2 * np.pi * 5 * np.arange(len(VOICE)) / RATE_HZ)) * VOICE
    pcm = mixed(VOICE, turning)
    assert len(choices(VOICE, turning)) == 2
    assert steps(pcm) < 1.2 * steps(VOICE)
    assert likeness(pcm, VOICE) > 0.9


def test_pauses_and_their_noise_change_nothing():
    """Between words there is only noise, which does not cancel: the choice waits for words."""
    said = np.tile(np.concatenate([VOICE[:8000], np.zeros(24_000)]), 4)
    noise = np.random.default_rng(2).standard_normal((len(said), 2)) * 0.002
    assert choices(said + noise[:, 0], -said + noise[:, 1]) == [MIX, 0]


def test_a_thump_in_both_channels_does_not_bring_the_mean_back():
    thump = np.zeros_like(VOICE)
    thump[24_000:26_000] = 0.9 * np.sin(2 * np.pi * 300 * np.arange(2_000) / RATE_HZ)
    assert choices(VOICE + thump, -VOICE + thump) == [MIX, 0]


def test_little_files_are_heard_from_the_second_one_on():
    """Each chunk may be a whole file: what the first has shown holds for those that follow."""
    stereo = np.stack([VOICE, -VOICE], axis=1)
    files = [wav(stereo[at : at + 1600], RATE_HZ, "f32") for at in range(0, len(stereo), 1600)]
    pcm = decode(files, AudioStream())
    np.testing.assert_array_equal(pcm[1600:], VOICE[1600:].astype(np.float32))


@pytest.mark.parametrize(
    "name", ["webm_opus_live", "matroska_aac", "matroska_pcm", "ogg_opus_stereo", "mp4_aac",
             "mp4_opus_every_frame"],
)  # fmt: skip
@given(offsets=st.lists(st.integers(0, 10**6), max_size=6))
@settings(max_examples=5, deadline=None)
def test_opposite_phase_is_heard_in_each_container(name, offsets):
    how = MUXINGS[name]
    said = voice(1.0, how.rate_hz)
    file = mux(how, samples=np.stack([said, -said], axis=1))
    one_channel = mux(replace(how, channels=1), samples=said[:, np.newaxis])
    pcm, expected = decode(cut(file, offsets)), decode([one_channel])
    length = min(len(pcm), len(expected))
    loud = slice(1_000, length)
    assert np.linalg.norm(pcm[loud]) > 0.9 * np.linalg.norm(expected[loud])
    assert likeness(pcm[loud], expected[loud]) > 0.9


SECTIONS = st.lists(
    st.tuples(st.sampled_from(["voice", "other", "noise", "silence"]), st.floats(-1, 1)),
    min_size=1,
    max_size=6,
)


def sections(parts: list[tuple[str, float]], channels: int, rate_hz: int) -> Samples:
    """A signal in parts of 0.15 s; each has its own sound and a balance between channels."""
    sounds = {
        "voice": voice(0.15, rate_hz),
        "other": voice(0.15, rate_hz, 210.0),
        "noise": chirp(0.15, rate_hz)[:, 0] * 0.1,
        "silence": np.zeros(round(0.15 * rate_hz)),
    }
    made = [
        np.stack([sounds[name] * balance**channel for channel in range(channels)], axis=1)
        for name, balance in parts
    ]
    return np.concatenate(made)


@given(
    parts=SECTIONS,
    channels=st.integers(2, 4),
    rate_hz=st.sampled_from([8_000, 11_025, 16_000, 48_000]),
    kind=st.sampled_from(["s16", "s24", "f32"]),
    offsets=st.lists(st.integers(0, 10**6), max_size=12),
)
@settings(deadline=None)
def test_cuts_change_no_sample(parts, channels, rate_hz, kind, offsets):
    signal = sections([(name, balance - 0.5) for name, balance in parts], channels, rate_hz)
    data = encode(signal, kind)
    layout = SampleLayout(
        "float" if kind == "f32" else "int", int(kind[1:]) // 8, channels, rate_hz
    )
    whole = PcmDecoder(layout).feed(data)
    decoder = PcmDecoder(layout)
    pieces = [decoder.feed(piece) for piece in cut(data, offsets)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@given(parts=SECTIONS, sizes=st.lists(st.integers(0, 2_000), max_size=30))
@settings(deadline=None)
def test_each_sample_lies_between_the_mean_and_a_channel(parts, sizes):
    """Whatever is chosen, nothing is made up: each sample is a mean's, a channel's or between."""
    signal = sections(parts, 2, RATE_HZ).T.astype(np.float32)
    mixer = Mixer(2, RATE_HZ)
    pieces = [mixer.feed(piece) for piece in np.split(signal, np.cumsum(sizes), axis=1)]
    pcm = np.concatenate(pieces)
    bounds = np.stack([signal[0], signal[1], (signal[0] + signal[1]) * np.float32(0.5)])
    assert len(pcm) == signal.shape[1]
    assert (pcm >= bounds.min(axis=0) - 1e-6).all()
    assert (pcm <= bounds.max(axis=0) + 1e-6).all()


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=3, max_size=3)),
        min_size=1,
        max_size=400,
    )
)
def test_choices_do_not_alternate(blocks):
    """A channel stays for 0.2 s at least, and a second passes before the mean comes back."""
    choice = ChannelChoice()
    taken = [choice.take(of_sum * 3 * sum(each), each) for of_sum, each in blocks]
    changes = [at for at in range(1, len(taken)) if taken[at] != taken[at - 1]]
    for earlier, later in pairwise(changes):
        if taken[earlier] != MIX:
            assert later - earlier >= (25 if taken[later] == MIX else 5)
