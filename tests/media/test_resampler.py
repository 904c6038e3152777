from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.types import SAMPLE_RATE
from server.media.resampler import Resampler

RATES = [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]


def resample(pieces, rate_hz):
    resampler = Resampler(rate_hz)
    return np.concatenate([*(resampler.feed(piece) for piece in pieces), resampler.flush()])


@given(
    rate_hz=st.sampled_from(RATES),
    borders=st.lists(st.integers(0, 5_000), max_size=20).map(sorted),
    length=st.integers(0, 5_000),
)
def test_cuts_change_no_sample(rate_hz, borders, length):
    signal = np.random.default_rng(3).uniform(-1, 1, length).astype(np.float32)
    pieces = np.split(signal, borders)
    np.testing.assert_array_equal(resample(pieces, rate_hz), resample([signal], rate_hz))


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_tone_stays_in_its_place(rate_hz):
    """No delay: the output equals the tone sampled at 16 kHz, apart from the very ends."""
    t = np.arange(rate_hz) / rate_hz
    pcm = resample([np.sin(2 * np.pi * 440 * t).astype(np.float32)], rate_hz)
    expected = np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    assert len(pcm) == SAMPLE_RATE
    np.testing.assert_allclose(pcm[64:-64], expected[64:-64], atol=1e-4)


def test_what_lies_above_half_the_new_rate_is_removed():
    t = np.arange(48_000) / 48_000
    pcm = resample([np.sin(2 * np.pi * 12_000 * t).astype(np.float32)], 48_000)
    assert np.abs(pcm[64:-64]).max() < 1e-3


def test_overshoot_stays_within_full_scale():
    square = np.tile(np.repeat([1.0, -1.0], 60), 40).astype(np.float32)
    pcm = resample([square], 48_000)
    assert np.abs(pcm).max() == 1.0


def test_the_samples_held_back_are_few():
    resampler = Resampler(48_000)
    assert len(resampler.feed(np.zeros(48_000, np.float32))) >= SAMPLE_RATE - 20


def test_16_khz_passes_untouched():
    signal = np.linspace(-1, 1, 100, dtype=np.float32)
    resampler = Resampler(SAMPLE_RATE)
    np.testing.assert_array_equal(resampler.feed(signal), signal)
    assert len(resampler.flush()) == 0


def test_after_a_flush_comes_a_new_signal():
    signal = np.random.default_rng(3).uniform(-1, 1, 900).astype(np.float32)
    resampler = Resampler(44_100)
    first = np.concatenate([resampler.feed(signal), resampler.flush()])
    second = np.concatenate([resampler.feed(signal), resampler.flush()])
    np.testing.assert_array_equal(first, second)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads by /proc")
def test_resamplers_start_no_threads():
    before = len(os.listdir("/proc/self/task"))
    resamplers = [Resampler(48_000) for _ in range(50)]
    for resampler in resamplers:
        resampler.feed(np.zeros(480, np.float32))
    assert len(os.listdir("/proc/self/task")) == before
