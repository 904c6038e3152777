"""A Whisper model folder, loaded: everything that does not change from job to job."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.errors import ModelError
from engine.whisper.build import HEAD_DIM, Builder
from engine.whisper.continuous import ContinuousDecoder
from engine.whisper.decoder import Decoder
from engine.whisper.encoder import Encoder
from engine.whisper.linear import ComputeType, compute_dtype
from engine.whisper.pick import TokenPicker
from engine.whisper.spec import read_spec
from engine.whisper.tokenizer import WhisperTokenizer
from engine.whisper.weights import read_model_bin


class WhisperModel:
    """Spec, tokenizer, encoder and decoder of one CTranslate2 folder.

    Raises ``ModelError`` if a file is missing or of another kind.
    """

    def __init__(
        self,
        folder: Path,
        device: str = "cpu",
        compute_type: ComputeType = "auto",
        slots: int = 16,
    ) -> None:
        weights = read_model_bin(folder / "model.bin")
        self.device = torch.device(device)
        self.dtype = compute_dtype(compute_type, self.device)
        self.spec = read_spec(folder, weights)
        if self.spec.head_dim != HEAD_DIM:
            raise ModelError(f"{folder} has heads of {self.spec.head_dim}, not {HEAD_DIM}")
        self.tokens = WhisperTokenizer(folder)
        build = Builder(weights, self.dtype, self.device)
        with torch.inference_mode():
            self.encoder = Encoder(build, self.spec)
            self.decoder = Decoder(build, self.spec, slots)
            self._picker = TokenPicker(
                self.spec, self.tokens, self.decoder.embeddings, self.dtype, self.device
            )

    def continuous(self) -> ContinuousDecoder:
        """A decoder with all slots free. One at a time: its rows live in this model's caches."""
        return ContinuousDecoder(self.decoder, self._picker, self.spec, self.tokens)
