"""The VAD step of many slots, as torch operations and, on a GPU, as a CUDA graph of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.kernels.timing import Case, Form
from kernels.silero import (
    FRAME_SAMPLES,
    WEIGHT_SHAPES,
    SileroState,
    SileroWeights,
    pack_weights,
    silero_step,
)


def _graph(weights: SileroWeights, frames: Tensor, state: SileroState) -> Form:
    """The step captured once, after a warm-up on a stream of its own."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            silero_step(weights, frames, state)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        silero_step(weights, frames, state)
    return graph.replay


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """Random weights of the real shapes, float32: the speed does not depend on the values."""
    tensors = {name: 0.1 * torch.randn(shape) for name, shape in WEIGHT_SHAPES.items()}
    weights = pack_weights(tensors, device)
    on_gpu = device.type == "cuda"
    for slots in (64, 256, 1024, 4096) if on_gpu else (1, 8, 64):
        frames = torch.randn(slots, FRAME_SAMPLES, device=device)
        state = SileroState.zeros(slots, device)
        forms: dict[str, Form] = {"torch": partial(silero_step, weights, frames, state)}
        if on_gpu:
            forms["cuda graph"] = _graph(weights, frames, state)
        yield Case("vad_step", f"{slots} slots", forms)
