"""Recordings as the field has them: odd numbers of channels, faint, loud and clipped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_signals import decode, encode, voice, wav

from server.media.stream import AudioStream, Declared

RATE_HZ = 16_000
VOICE = voice(1.0, RATE_HZ)
VOICE = VOICE / np.abs(VOICE).max()
ONSET = round(0.1 * RATE_HZ)
LEVELS_DB = [-55, -40, -20, 0]


def heard(samples: np.ndarray, in_wav: bool) -> np.ndarray:
    if in_wav:
        return decode([wav(samples, RATE_HZ, "f32")])
    declared = Declared("pcm_f32le", RATE_HZ, samples.shape[1])
    return decode([encode(samples, "f32")], AudioStream(declared))


@pytest.mark.parametrize("level_db", LEVELS_DB)
@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("in_wav", [False, True])
def test_equal_channels_are_as_loud_as_one(channels, level_db, in_wav):
    said = VOICE * 10 ** (level_db / 20)
    pcm = heard(np.repeat(said[:, np.newaxis], channels, axis=1), in_wav)
    np.testing.assert_allclose(pcm, said, atol=1e-6)


@pytest.mark.parametrize("level_db", LEVELS_DB)
@pytest.mark.parametrize("channels", range(2, 9))
def test_one_pair_of_opposite_phase_is_heard_among_silent_channels(channels, level_db):
    said = VOICE * 10 ** (level_db / 20)
    samples = np.zeros((len(said), channels))
    samples[:, 0], samples[:, -1] = said, -said
    pcm = heard(samples, in_wav=True)
    np.testing.assert_allclose(pcm[ONSET:], said[ONSET:], atol=1e-6)


@pytest.mark.parametrize("gain", [1.5, 10.0, 1000.0])
def test_clipped_channels_of_opposite_phase_are_heard(gain):
    said = np.clip(VOICE * gain, -1, 1)
    pcm = heard(np.stack([said, -said], axis=1), in_wav=True)
    np.testing.assert_allclose(pcm[ONSET:], said[ONSET:], atol=1e-6)


@given(channels=st.integers(9, 256), dead=st.integers(0, 8))
@settings(max_examples=20, deadline=None)
def test_a_file_may_have_many_channels_of_which_some_are_dead(channels, dead):
    samples = np.repeat(VOICE[:2000, np.newaxis], channels, axis=1)
    samples[:, :dead] = 0
    pcm = heard(samples, in_wav=True)
    np.testing.assert_allclose(pcm, samples.mean(axis=1), atol=1e-5)
