"""Silence that is encoded once: the same words for less work."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from whisper_cases import alone

from engine.types import SAMPLE_RATE, Pcm
from engine.whisper.features import features, hear
from engine.whisper.model import WhisperModel
from engine.whisper.row import RowRequest
from engine.whisper.silence import (
    CONTEXTS_S,
    MARGIN_S,
    SegmentEncoder,
    context_for,
    own_positions,
)

FRAMES = CONTEXTS_S[0] * 100


@pytest.fixture
def encoder(tiny: WhisperModel) -> SegmentEncoder:
    return SegmentEncoder(tiny.encoder, tiny.decoder)


def mel_of(model: WhisperModel, pcm: Pcm) -> Tensor:
    return features(hear(pcm, model.spec.n_mels), FRAMES)


@torch.inference_mode()
def test_without_silence_it_is_the_whole_encoder(
    tiny: WhisperModel, encoder: SegmentEncoder, english: dict[str, Pcm]
) -> None:
    mel = mel_of(tiny, next(iter(english.values())))
    whole = tiny.decoder.project(tiny.encoder(mel[None])[0])
    torch.testing.assert_close(encoder.begin(mel).finish(), whole)


@torch.inference_mode()
def test_of_nothing_but_silence_it_is_exact(tiny: WhisperModel, encoder: SegmentEncoder) -> None:
    """Where the speech is silence too, cached positions have seen all there is to see."""
    mel = torch.full((FRAMES, tiny.spec.n_mels), -0.5)
    whole = tiny.decoder.project(tiny.encoder(mel[None])[0])
    shared = encoder.begin(mel, 3.0).finish()
    assert shared.shape == whole.shape
    torch.testing.assert_close(shared, whole, atol=2e-3, rtol=2e-3)


@torch.inference_mode()
def test_speech_keeps_its_words(
    tiny: WhisperModel, encoder: SegmentEncoder, english: dict[str, Pcm]
) -> None:
    for name, pcm in english.items():
        mel = mel_of(tiny, pcm)
        request = RowRequest(max_tokens=60, language="en")
        texts = [
            tiny.tokens.decode(alone(tiny, encoder.begin(mel, seconds).finish(), request).tokens)
            for seconds in (None, len(pcm) / SAMPLE_RATE)
        ]
        assert texts[0] == texts[1], name


@torch.inference_mode()
def test_silence_is_computed_once_for_each_context_and_level(
    tiny: WhisperModel, encoder: SegmentEncoder, english: dict[str, Pcm], monkeypatch
) -> None:
    lengths: list[int] = []
    begin = tiny.encoder.begin
    monkeypatch.setattr(
        tiny.encoder,
        "begin",
        lambda mel, *a, **k: lengths.append(mel.shape[1]) or begin(mel, *a, **k),
    )
    pcm = next(iter(english.values()))
    for _ in range(3):
        encoder.begin(mel_of(tiny, pcm), len(pcm) / SAMPLE_RATE).finish()
    assert lengths.count(FRAMES) == 1  # the silence
    own = (own_positions(len(pcm) / SAMPLE_RATE) + 1) * 2
    assert sorted(lengths) == sorted([FRAMES, own, own, own])


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0, 6.5, 13.4, 13.5, 13.6, 28.0])
def test_bounds(seconds: float) -> None:
    context = context_for(seconds)
    assert context in CONTEXTS_S
    own = own_positions(seconds)
    assert (seconds + MARGIN_S) * 50 <= own <= context * 50


def test_a_full_window_leaves_no_room() -> None:
    assert context_for(29.0) is None
