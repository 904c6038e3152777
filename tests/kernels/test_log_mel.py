from __future__ import annotations

import numpy as np
import pytest
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_cases import HOP, chirp, make_case, put

from kernels.log_mel import (
    N_FFT,
    log_mel_frames,
    mel_filters,
    normalise,
    ragged_log_mel,
    whisper_features,
)

RATE = 16_000


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


def test_ragged_frames_equal_each_signals_own() -> None:
    """Whole signals are mirrored at their begin and followed by silence, in the ring too."""
    signals = {0: (0, chirp(3_200)), 2: (9_000, chirp(2_400, 1))}
    rings = torch.full((3, 4_000), 9.0)
    begins, ends = torch.zeros(2, 3, dtype=torch.int32)
    for slot, (begin, signal) in signals.items():
        put(rings[slot], signal, begin)
        begins[slot], ends[slot] = begin, begin + len(signal)
    for slot, (begin, signal) in signals.items():
        silence = torch.zeros(HOP * 3)
        expected = log_mel_frames(torch.cat((signal, silence))[None], 80)[0].T[:-2]
        centres = begin + HOP * torch.arange(len(expected), dtype=torch.int32)
        slots = torch.full_like(centres, slot)
        found = ragged_log_mel(rings, begins, ends, slots, centres, 80)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_ragged_frames_do_not_depend_on_their_neighbours() -> None:
    case = make_case()
    together = ragged_log_mel(*case, 80)
    for frame in (0, 17, 36):
        alone = ragged_log_mel(
            *case[:3], case.frame_slot[frame : frame + 1], case.frame_centre[frame : frame + 1], 80
        )
        torch.testing.assert_close(together[frame : frame + 1], alone, atol=1e-4, rtol=0)
