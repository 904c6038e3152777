from __future__ import annotations

import numpy as np
import pytest
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.log_mel import (
    HOP,
    N_FFT,
    log_mel_frames,
    mel_filters,
    normalise,
    whisper_features,
)

RATE = 16_000


def chirp(samples: int, seed: int = 0) -> torch.Tensor:
    """A swept tone over noise, ``[samples]`` float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / RATE
    tone = 0.4 * np.sin(2 * np.pi * (200 * t + 300 * (seed + 1) * t**2))
    return torch.from_numpy((tone + 0.01 * rng.standard_normal(samples)).astype(np.float32))


@pytest.mark.parametrize("bins", [80, 128])
def test_filters_equal_faster_whispers(bins: int) -> None:
    expected = FeatureExtractor(feature_size=bins).mel_filters
    np.testing.assert_allclose(mel_filters(bins).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("seconds", [0.01, 0.5, 3.0, 9.9, 10.0])
def test_features_equal_faster_whispers_on_padded_audio(bins: int, seconds: float) -> None:
    pcm = chirp(int(seconds * RATE))
    padded = np.zeros(10 * RATE, np.float32)
    padded[: len(pcm)] = pcm
    expected = FeatureExtractor(feature_size=bins)(padded, padding=0)
    found = whisper_features([pcm], 1000, bins)[0]
    assert found.shape == (bins, 1000)
    np.testing.assert_allclose(found.numpy(), expected, atol=5e-5)


@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(0, 5 * RATE), min_size=1, max_size=4))
def test_a_batch_equals_each_segment_alone(lengths: list[int]) -> None:
    segments = [chirp(length, seed) for seed, length in enumerate(lengths)]
    batch = whisper_features(segments, 500, 80)
    for segment, found in zip(segments, batch, strict=True):
        torch.testing.assert_close(found, whisper_features([segment], 500, 80)[0])


def test_no_audio_is_flat() -> None:
    features = whisper_features([torch.zeros(0)], 100, 80)
    assert features.shape == (1, 80, 100)
    assert features.unique().numel() == 1


def test_frames_without_centre_join_to_the_whole() -> None:
    pcm = chirp(4 * RATE)[None]
    whole = log_mel_frames(pcm, 80)
    pieces = [
        log_mel_frames(
            pcm[:, start * HOP - N_FFT // 2 : (stop - 1) * HOP + N_FFT // 2], 80, centre=False
        )
        for start, stop in [(2, 3), (3, 50), (50, 51), (51, 390)]
    ]
    joined = torch.cat(pieces, dim=2)
    torch.testing.assert_close(joined, whole[:, :, 2:390], atol=1e-4, rtol=0)


def test_the_clamp_is_each_windows_own() -> None:
    raw = torch.stack([torch.full((80, 10), -9.0), torch.full((80, 10), -9.0)])
    raw[0, 3, 4] = 2.0
    loud, quiet = normalise(raw)
    assert loud.max() == 1.5
    assert loud.min() == -0.5
    assert torch.all(quiet == -1.25)


def test_audio_longer_than_the_context_is_our_bug() -> None:
    with pytest.raises(AssertionError):
        whisper_features([torch.zeros(161)], 1, 80)
