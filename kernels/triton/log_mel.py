"""Ring buffers of many slots to log-mel frames in one launch.

Arguments and results are those of ``kernels.log_mel.ragged_log_mel``. The transform of 400
samples is a product with a windowed cosine and sine basis, a block of its bins at a time, whose
power goes through the mel filters at once: nothing but the frames is written to memory.
"""

# ruff: noqa: N803 (constants of a kernel are written in capitals, as in Triton's own code)
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import math
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.log_mel import FLOOR, HALF_WINDOW, N_FFT, mel_filters

BLOCK_FRAMES = 16
BLOCK_SAMPLES = 16  # divides N_FFT
BLOCK_BINS = 64  # divides PADDED_BINS
PADDED_BINS = triton.next_power_of_2(HALF_WINDOW + 1)


@triton.jit
def log_mel_kernel(
    ring_ptr,  # [slots, capacity] float32
    begin_ptr,  # [slots] int32
    end_ptr,  # [slots] int32
    slot_ptr,  # [frames] int32
    centre_ptr,  # [frames] int32
    basis_ptr,  # [2, N_FFT, FFT_BINS] float32, zero columns from bin 201 on
    filter_ptr,  # [FFT_BINS, MEL_BINS] float32, zero beyond the real bins
    out_ptr,  # [frames, bins] float32
    frames,
    capacity,
    bins,
    floor,
    N_FFT: tl.constexpr,
    FFT_BINS: tl.constexpr,
    MEL_BINS: tl.constexpr,
    BLOCK_FRAMES: tl.constexpr,
    BLOCK_SAMPLES: tl.constexpr,
    BLOCK_BINS: tl.constexpr,
):
    """A block of frames: transform, power, mel filters, logarithm."""
    frame = tl.program_id(0) * BLOCK_FRAMES + tl.arange(0, BLOCK_FRAMES)
    live = frame < frames
    slot = tl.load(slot_ptr + frame, mask=live, other=0)
    centre = tl.load(centre_ptr + frame, mask=live, other=0)
    begin = tl.load(begin_ptr + slot, mask=live, other=0)
    end = tl.load(end_ptr + slot, mask=live, other=0)
    ring = slot.to(tl.int64) * capacity
    mel_bin = tl.arange(0, MEL_BINS)
    mel = tl.zeros([BLOCK_FRAMES, MEL_BINS], tl.float32)
    for first_bin in range(0, FFT_BINS, BLOCK_BINS):
        fft_bin = first_bin + tl.arange(0, BLOCK_BINS)
        real = tl.zeros([BLOCK_FRAMES, BLOCK_BINS], tl.float32)
        imaginary = tl.zeros([BLOCK_FRAMES, BLOCK_BINS], tl.float32)
        for start in range(0, N_FFT, BLOCK_SAMPLES):
            step = start + tl.arange(0, BLOCK_SAMPLES)
            sample = (centre - N_FFT // 2)[:, None] + step[None, :]
            sample = begin[:, None] + tl.abs(sample - begin[:, None])
            heard = live[:, None] & (sample < end[:, None])
            signal = tl.load(ring_ptr + ring[:, None] + sample % capacity, mask=heard, other=0.0)
            basis = basis_ptr + step[:, None] * FFT_BINS + fft_bin[None, :]
            # full float32: quiet bins beside loud ones must keep their logarithm
            real = tl.dot(signal, tl.load(basis), real, input_precision="ieee")
            sine = tl.load(basis + N_FFT * FFT_BINS)
            imaginary = tl.dot(signal, sine, imaginary, input_precision="ieee")
        power = real * real + imaginary * imaginary
        filters = tl.load(filter_ptr + fft_bin[:, None] * MEL_BINS + mel_bin[None, :])
        mel = tl.dot(power, filters, mel, input_precision="ieee")
    mel = tl.maximum(mel, floor)
    log10 = tl.log2(mel) * 0.30102999566398120
    out = out_ptr + frame[:, None].to(tl.int64) * bins + mel_bin[None, :]
    tl.store(out, log10, mask=live[:, None] & (mel_bin < bins)[None, :])


@cache
def fourier_basis(device: torch.device) -> Tensor:
    """Cosines and sines under the Hann window, ``[2, 400, 256]`` float32."""
    sample = torch.arange(N_FFT, dtype=torch.float64)
    turns = torch.outer(sample, torch.arange(HALF_WINDOW + 1, dtype=torch.float64)) % N_FFT
    angle = turns * (2 * math.pi / N_FFT)
    window = torch.hann_window(N_FFT, dtype=torch.float64)[:, None]
    basis = torch.zeros(2, N_FFT, PADDED_BINS, dtype=torch.float64)
    basis[0, :, : HALF_WINDOW + 1] = angle.cos() * window
    basis[1, :, : HALF_WINDOW + 1] = angle.sin() * window
    return basis.to(device, torch.float32)


@cache
def _padded_filters(bins: int, device: torch.device) -> Tensor:
    padded = torch.zeros(PADDED_BINS, triton.next_power_of_2(bins), device=device)
    padded[: HALF_WINDOW + 1, :bins] = mel_filters(bins, device).T
    return padded


def ragged_log_mel(
    rings: Tensor,
    slot_begin: Tensor,
    slot_end: Tensor,
    frame_slot: Tensor,
    frame_centre: Tensor,
    bins: int,
) -> Tensor:
    """``kernels.log_mel.ragged_log_mel`` on a GPU; rings are contiguous float32."""
    assert rings.is_contiguous()
    assert rings.dtype == torch.float32
    frames = frame_slot.shape[0]
    out = torch.empty((frames, bins), dtype=torch.float32, device=rings.device)
    filters = _padded_filters(bins, rings.device)
    if frames:
        log_mel_kernel[(triton.cdiv(frames, BLOCK_FRAMES),)](
            rings, slot_begin, slot_end, frame_slot, frame_centre,
            fourier_basis(rings.device), filters, out, frames, rings.shape[1], bins, FLOOR,
            N_FFT=N_FFT, FFT_BINS=PADDED_BINS, MEL_BINS=filters.shape[1],
            BLOCK_FRAMES=BLOCK_FRAMES, BLOCK_SAMPLES=BLOCK_SAMPLES, BLOCK_BINS=BLOCK_BINS,
        )  # fmt: skip
    return out
