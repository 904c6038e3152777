"""One call of the encoder for batches of segments, 15 s of context each."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.bench import Bench, Record, Row
from benchmarks.gpu.models import CONTEXT_S, folder_of, load_model
from benchmarks.gpu.variants import best_on, forms_of
from benchmarks.kernels.timing import median_us
from engine.whisper.model import WhisperModel
from engine.whisper.spec import FRAMES_PER_S


@torch.inference_mode()
def measure(bench: Bench, record: Record) -> None:
    """Rows: ``model``, ``batch``, ``ms`` a call, ``segments_per_s``."""
    variant = best_on(bench.device)
    record.fact("context_s", CONTEXT_S)
    for name in bench.models:
        with folder_of(name) as folder, forms_of(variant):
            model = load_model(folder, bench, variant, slots=1)
            for batch in bench.batches:
                row = {"model": name, "batch": batch}
                if not record.attempt(row, partial(_call, model, batch, bench)):
                    break  # a larger one would need more memory still


def _call(model: WhisperModel, batch: int, bench: Bench) -> Row:
    frames = CONTEXT_S * FRAMES_PER_S
    mel = torch.randn(batch, frames, model.spec.n_mels, device=model.device)
    took_ms = median_us(partial(_encode, model, mel), bench.seconds) / 1e3
    return {"ms": round(took_ms, 3), "segments_per_s": round(batch / took_ms * 1e3, 1)}


def _encode(model: WhisperModel, mel: Tensor) -> Tensor:
    return model.encoder.begin(mel).finish()
