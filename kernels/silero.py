"""One 32 ms step of Silero VAD v6 (16 kHz) for many streams, as torch operations.

Network: https://github.com/snakers4/silero-vad (MIT).
A step is so short that every convolution sees four STFT columns or fewer, so each one is
written as a single matrix product over unfolded columns; taps that would only meet zero padding
are left out. State is explicit: nothing is kept between calls but what the caller keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

FRAME_SAMPLES = 512
CONTEXT_SAMPLES = 64
HIDDEN = 128

_N_FFT = 256
_HOP = 128
_BINS = _N_FFT // 2 + 1
_COLUMNS = 4  # STFT columns of one step: (64 + 512 + 64 - 256) / 128 + 1

WEIGHT_SHAPES: Mapping[str, tuple[int, ...]] = {
    "stft_conv.weight": (2 * _BINS, 1, _N_FFT),
    "conv1.weight": (128, _BINS, 3),
    "conv1.bias": (128,),
    "conv2.weight": (64, 128, 3),
    "conv2.bias": (64,),
    "conv3.weight": (64, 64, 3),
    "conv3.bias": (64,),
    "conv4.weight": (128, 64, 3),
    "conv4.bias": (128,),
    "lstm_cell.weight_ih": (4 * HIDDEN, 128),
    "lstm_cell.weight_hh": (4 * HIDDEN, HIDDEN),
    "lstm_cell.bias_ih": (4 * HIDDEN,),
    "lstm_cell.bias_hh": (4 * HIDDEN,),
    "final_conv.weight": (1, HIDDEN, 1),
    "final_conv.bias": (1,),
}


class SileroWeights(NamedTuple):
    """The network's weights as ``[in, out]`` float32 matrices, ready for ``addmm``."""

    stft: Tensor
    conv1: Tensor
    conv1_bias: Tensor
    conv2: Tensor
    conv2_bias: Tensor
    conv3: Tensor
    conv3_bias: Tensor
    conv4: Tensor
    conv4_bias: Tensor
    lstm: Tensor
    lstm_bias: Tensor
    head: Tensor
    head_bias: Tensor


class SileroState(NamedTuple):
    """What a stream carries from one step to the next, float32, zeros at its start."""

    context: Tensor  # [n, 64], the last samples of the frame before
    h: Tensor  # [n, 128]
    c: Tensor  # [n, 128]

    @classmethod
    def zeros(cls, n: int, device: torch.device | str = "cpu") -> SileroState:
        sizes = (CONTEXT_SAMPLES, HIDDEN, HIDDEN)
        return cls(*(torch.zeros(n, size, device=device) for size in sizes))


def pack_weights(tensors: Mapping[str, Tensor], device: torch.device | str) -> SileroWeights:
    """Lay the file's tensors out for :func:`silero_step`.

    tensors: names and shapes of ``WEIGHT_SHAPES``. Raises ``ValueError`` where one is missing or
    has another shape.
    """
    for name, shape in WEIGHT_SHAPES.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shape:
            raise ValueError(f"weight {name} should have shape {shape}, found {found}")
    w = {name: tensors[name].to(device, torch.float32) for name in WEIGHT_SHAPES}

    def taps(name: str, first: int, last: int) -> Tensor:
        """``[out, in, 3]`` to ``[taps * in, out]``, columns of the input in order of time."""
        weight = w[f"{name}.weight"][:, :, first:last]
        return weight.permute(2, 1, 0).flatten(0, 1).contiguous()

    recurrent = torch.cat((w["lstm_cell.weight_ih"], w["lstm_cell.weight_hh"]), dim=1)
    return SileroWeights(
        stft=w["stft_conv.weight"][:, 0].T.contiguous(),
        conv1=taps("conv1", 0, 3),
        conv1_bias=w["conv1.bias"],
        conv2=taps("conv2", 0, 3),
        conv2_bias=w["conv2.bias"],
        conv3=taps("conv3", 1, 3),  # its first tap meets padding only
        conv3_bias=w["conv3.bias"],
        conv4=taps("conv4", 1, 2),  # one column in: both outer taps meet padding only
        conv4_bias=w["conv4.bias"],
        lstm=recurrent.T.contiguous(),
        lstm_bias=w["lstm_cell.bias_ih"] + w["lstm_cell.bias_hh"],
        head=w["final_conv.weight"][0].contiguous(),
        head_bias=w["final_conv.bias"],
    )


def _magnitudes(w: SileroWeights, context: Tensor, frames: Tensor) -> Tensor:
    """STFT magnitudes of a step with its context, ``[n, 4, 129]``."""
    reflected = frames[:, -CONTEXT_SAMPLES - 1 : -1].flip(1)
    signal = torch.cat((context, frames, reflected), dim=1)
    columns = signal.unfold(1, _N_FFT, _HOP)  # [n, 4, 256], a view
    spectrum = torch.matmul(columns, w.stft)
    real, imaginary = spectrum[..., :_BINS], spectrum[..., _BINS:]
    return torch.hypot(real, imaginary)


def _encode(w: SileroWeights, magnitudes: Tensor) -> Tensor:
    """The four convolutions: ``[n, 4, 129]`` to ``[n, 128]``."""
    n = magnitudes.shape[0]
    padded = magnitudes.new_zeros(n, _COLUMNS + 2, _BINS)
    padded[:, 1:-1] = magnitudes
    windows = padded.view(n, -1).unfold(1, 3 * _BINS, _BINS).reshape(n * _COLUMNS, 3 * _BINS)
    x = torch.addmm(w.conv1_bias, windows, w.conv1).relu_()
    padded = x.new_zeros(n, _COLUMNS + 1, 128)
    padded[:, 1:] = x.view(n, _COLUMNS, 128)
    windows = padded.view(n, -1).unfold(1, 3 * 128, 2 * 128).reshape(n * 2, 3 * 128)
    x = torch.addmm(w.conv2_bias, windows, w.conv2).relu_()
    x = torch.addmm(w.conv3_bias, x.view(n, 2 * 64), w.conv3).relu_()
    return torch.addmm(w.conv4_bias, x, w.conv4).relu_()


def silero_step(w: SileroWeights, frames: Tensor, state: SileroState) -> tuple[Tensor, SileroState]:
    """Speech probability of each stream's next 32 ms, and each stream's next state.

    frames: ``[n, 512]`` float32 at 16 kHz, ``n >= 1``; state: rows in the same order, on the
    weights' device. Returns probabilities ``[n]`` float32 and the new state. No shape depends on
    a value, so the call can be captured in a CUDA graph.
    """
    encoded = _encode(w, _magnitudes(w, state.context, frames))
    gates = torch.addmm(w.lstm_bias, torch.cat((encoded, state.h), dim=1), w.lstm)
    i, f, g, o = gates.chunk(4, dim=1)
    c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    probability = torch.addmm(w.head_bias, h.relu(), w.head).sigmoid_().squeeze(1)
    return probability, SileroState(frames[:, -CONTEXT_SAMPLES:], h, c)
