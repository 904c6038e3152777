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
from engine.whisper.passes import DecoderPass, DirectPass
from engine.whisper.pick import TokenPicker
from engine.whisper.spec import read_spec
from engine.whisper.static_pass import StaticPass
from engine.whisper.tokenizer import WhisperTokenizer
from engine.whisper.weights import read_model_bin
from kernels.dispatch import REFERENCE, operations_for
from kernels.queues import CudaQueue, Queues


class WhisperModel:
    """Spec, tokenizer, encoder and decoder of one CTranslate2 folder.

    On CUDA the encoder and the decoder have a queue each, and decoder passes are replayed from
    graphs unless ``graphs`` is false; ``queues`` puts others in place, on a CPU as well. Without
    queues every operation runs as it is called. Raises ``ModelError`` if a file is missing or of
    another kind.
    """

    def __init__(
        self,
        folder: Path,
        device: str = "cpu",
        compute_type: ComputeType = "auto",
        slots: int = 16,
        *,
        graphs: bool = True,
        queues: Queues | None = None,
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
            self.decoder = Decoder(
                build, self.spec, slots, compact=self.device.type == "cpu" and queues is None
            )
            self._picker = TokenPicker(
                self.spec, self.tokens, self.decoder.embeddings, self.dtype, self.device
            )
        self.queues = queues or _cuda_queues(self.device)
        self._graphs = graphs and _can_be_captured(self.device, self.dtype)

    def continuous(self) -> ContinuousDecoder:
        """A decoder with all slots free. One at a time: its rows live in this model's caches."""
        with torch.inference_mode():
            way = self._pass()
        return ContinuousDecoder(way, self.decoder.caches.slots, self.spec, self.tokens)

    def _pass(self) -> DecoderPass:
        parts = self.decoder, self._picker, self.spec, self.tokens
        if self.queues is None:
            return DirectPass(*parts)
        return StaticPass(*parts, self.queues.decoder, graphs=self._graphs)


def _cuda_queues(device: torch.device) -> Queues | None:
    """The decoder's work goes first; neither begins before the weights are where they belong."""
    if device.type != "cuda":
        return None
    return Queues(CudaQueue(device, urgent=False), CudaQueue(device, urgent=True))


def _can_be_captured(device: torch.device, dtype: torch.dtype) -> bool:
    """The torch forms of the kernels read on the host what a graph would not know."""
    return device.type != "cuda" or operations_for(device, dtype) is not REFERENCE
