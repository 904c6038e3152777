"""Features that grow with the audio equal those of the whole window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from engine.types import Pcm
from engine.whisper.features import features, hear
from kernels.log_mel import whisper_features


def _voice(samples: int, seed: int) -> Pcm:
    time_s = np.arange(samples) / 16_000
    tones = np.sin(2 * np.pi * 180 * time_s) * np.sin(2 * np.pi * 3 * time_s)
    noise = np.random.default_rng(seed).normal(0, 0.01, samples)
    return (0.3 * tones + noise).astype(np.float32)


@pytest.mark.parametrize("bins", [80, 128])
@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 40_000), max_size=6),
    samples=st.integers(1, 40_000),
    seed=st.integers(0, 9),
)
def test_grown_features_equal_whole_ones(
    bins: int, cuts: list[int], samples: int, seed: int
) -> None:
    pcm = _voice(samples, seed)
    heard = None
    for cut in sorted(cuts):
        heard = hear(pcm[:cut], bins, heard)
    grown = features(hear(pcm, bins, heard), 300)
    whole = whisper_features([torch.from_numpy(pcm)], 300, bins)[0].T
    torch.testing.assert_close(grown, whole, rtol=0, atol=1e-5)


def test_frames_are_kept_and_not_computed_again() -> None:
    pcm = _voice(32_000, 1)
    before = REGISTRY.get_sample_value("antiphon_mel_frames_total") or 0.0
    first = hear(pcm[:16_000], 80)
    first.frames.fill_(1.5)
    second = hear(pcm, 80, first)
    known = first.frames.shape[1]
    computed = REGISTRY.get_sample_value("antiphon_mel_frames_total")
    assert computed == before + second.frames.shape[1]
    assert bool((second.frames[:, :known] == 1.5).all())
    assert second.frames.shape[1] > known


def test_other_audio_begins_anew() -> None:
    pcm = _voice(32_000, 1)
    other = hear(_voice(16_000, 2), 80)
    again = features(hear(pcm, 80, other), 300)
    torch.testing.assert_close(again, features(hear(pcm, 80), 300), rtol=0, atol=0)


def test_audio_longer_than_the_context_is_cut() -> None:
    pcm = _voice(48_000, 1)
    assert features(hear(pcm, 80), 200).shape == (200, 80)
