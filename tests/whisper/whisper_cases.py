"""Phrases as encoder input, and decoders run to their end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.types import Pcm
from engine.whisper.continuous import ContinuousDecoder
from engine.whisper.features import features, hear
from engine.whisper.model import WhisperModel
from engine.whisper.row import RowRequest, RowResult
from server.audio_file import read_pcm

ENGLISH = ["en/counting", "en/quick_brown_fox", "en/hello_world"]


def read_phrase(folder: Path, name: str) -> Pcm:
    """Mono float32 at 16 kHz of ``folder/name.wav``."""
    raw = b"".join(read_pcm(folder / f"{name}.wav"))
    return np.frombuffer(raw, "<i2").astype(np.float32) / 32768


def encode(model: WhisperModel, pcm: Pcm, frames: int = 1000) -> Tensor:
    """Encoder states ``[frames / 2, width]``."""
    with torch.inference_mode():
        mel = features(hear(pcm, model.spec.n_mels), frames)
        return model.encoder(mel[None].to(model.device))[0]


def finish(decoder: ContinuousDecoder) -> dict[int, RowResult]:
    """Run until every row has left; results by slot."""
    results: dict[int, RowResult] = {}
    with torch.inference_mode():
        while len(decoder):
            results.update(decoder.step())
    return results


def alone(model: WhisperModel, states: Tensor, request: RowRequest) -> RowResult:
    """Decode one segment by itself."""
    decoder = model.continuous()
    with torch.inference_mode():
        slot = decoder.join(request, states)
    return finish(decoder)[slot]
