"""Whisper's log-mel front end in torch, split so that it can run as audio arrives.

``log_mel_frames`` has no memory of the window it is in, so frames can be kept and joined;
``normalise`` holds the one step that looks at a whole window. ``ragged_log_mel`` takes frames of
many streams at once; its Triton form is ``kernels/triton/log_mel.py``. Constants and filters
follow OpenAI's Whisper (``whisper/audio.py``) and librosa's Slaney mel scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
HALF_WINDOW = N_FFT // 2
SILENCE = -10.0  # log10 of the floor under every power

FLOOR = 1e-10
_DYNAMIC_RANGE = 8.0  # in log10 units, below the window's maximum


def _mel_to_hz(mel: Tensor) -> Tensor:
    """Slaney's scale: linear up to 1 kHz (mel 15), logarithmic above."""
    linear = mel * (200.0 / 3)
    return torch.where(mel < 15, linear, 1000.0 * torch.exp((mel - 15) * (math.log(6.4) / 27)))


@cache
def mel_filters(bins: int, device: torch.device | str = "cpu") -> Tensor:
    """Triangular filters of equal area from 0 to 8 kHz, ``[bins, 201]`` float32."""
    top_mel = 15 + 27 * math.log(8.0) / math.log(6.4)
    edges_hz = _mel_to_hz(torch.linspace(0, top_mel, bins + 2, dtype=torch.float64))
    fft_hz = torch.arange(HALF_WINDOW + 1, dtype=torch.float64) * (SAMPLE_RATE / N_FFT)
    width_hz = edges_hz.diff()
    distance_hz = edges_hz[:, None] - fft_hz[None]
    rising = -distance_hz[:-2] / width_hz[:-1, None]
    falling = distance_hz[2:] / width_hz[1:, None]
    area = 2.0 / (edges_hz[2:] - edges_hz[:-2])
    filters = torch.minimum(rising, falling).clamp_(min=0) * area[:, None]
    return filters.to(device, torch.float32)


@cache
def hann_window(device: torch.device | str = "cpu") -> Tensor:
    """Periodic Hann window, ``[400]`` float32."""
    return torch.hann_window(N_FFT, dtype=torch.float64).to(device, torch.float32)


def log_mel_frames(pcm: Tensor, bins: int, *, centre: bool = True) -> Tensor:
    """Raw log10 mel power, one frame a 10 ms hop.

    pcm: ``[b, n]`` float32 at 16 kHz. With ``centre`` the signal is mirrored at both ends and
    frame ``t`` lies around sample ``160 t``: ``n // 160`` frames, as in Whisper. Without it frame
    ``t`` is made of samples ``[160 t, 160 t + 400)`` alone: ``(n - 400) // 160 + 1`` frames, and
    the caller brings the 200 samples before and after. Returns ``[b, bins, frames]`` float32.
    """
    window = hann_window(pcm.device)
    spectrum = torch.stft(pcm, N_FFT, HOP, window=window, center=centre, return_complex=True)
    if centre:
        spectrum = spectrum[..., : pcm.shape[1] // HOP]
    power = spectrum.real.square() + spectrum.imag.square()
    return torch.matmul(mel_filters(bins, pcm.device), power).clamp_(min=FLOOR).log10_()


class RaggedLogMel(Protocol):
    """See :func:`ragged_log_mel`, the reference, for what each argument is."""

    def __call__(
        self,
        rings: Tensor,
        slot_begin: Tensor,
        slot_end: Tensor,
        frame_slot: Tensor,
        frame_centre: Tensor,
        bins: int,
    ) -> Tensor: ...


def ragged_log_mel(
    rings: Tensor,
    slot_begin: Tensor,
    slot_end: Tensor,
    frame_slot: Tensor,
    frame_centre: Tensor,
    bins: int,
) -> Tensor:
    """Raw log10 mel power of packed frames, each of its own slot and place.

    rings: ``[slots, capacity]`` float32 at 16 kHz, where sample ``i`` of a slot lies at
    ``i % capacity``; slot_begin, slot_end: ``[slots]`` int32, the samples of the signal: it is
    mirrored before its begin and zero from its end on; frame_slot, frame_centre: ``[frames]``
    int32, the slot and the middle sample of each frame. A frame holds samples
    ``[centre - 200, centre + 200)``; those inside the signal must still be in the ring, and a
    mirrored one needs 200 samples after the begin. Returns ``[frames, bins]`` float32; at centres
    ``begin + 160 t`` they equal :func:`log_mel_frames`.
    """
    slot = frame_slot.long()[:, None]
    offset = torch.arange(-HALF_WINDOW, HALF_WINDOW, device=rings.device)
    begin = slot_begin.long()[slot]
    sample = (frame_centre[:, None] + offset - begin).abs() + begin
    heard = rings[slot, sample % rings.shape[1]]
    signal = torch.where(sample < slot_end.long()[slot], heard, 0.0)
    spectrum = torch.fft.rfft(signal * hann_window(rings.device))
    power = spectrum.real.square() + spectrum.imag.square()
    return torch.matmul(power, mel_filters(bins, rings.device).T).clamp_(min=FLOOR).log10_()


def normalise(raw: Tensor) -> Tensor:
    """Whisper's dynamic range, relative to each window's maximum.

    raw: ``[b, bins, frames]`` of :func:`log_mel_frames`. Returns the encoder's input, same shape.
    """
    floor = raw.amax(dim=(1, 2), keepdim=True) - _DYNAMIC_RANGE
    return (torch.maximum(raw, floor) + 4.0) / 4.0


def whisper_features(pcm: Sequence[Tensor], frames: int, bins: int) -> Tensor:
    """Encoder inputs of several segments in a context of ``frames``.

    Each segment is followed by zero samples to the end of the context, as OpenAI's Whisper does
    (a segment's features do not depend on what else is in the batch).
    pcm: float32 ``[n_i]`` at 16 kHz on one device, ``n_i <= 160 * frames``. Returns
    ``[len(pcm), bins, frames]`` float32.
    """
    context_samples = frames * HOP
    longest = max(segment.shape[0] for segment in pcm)
    assert longest <= context_samples, f"{longest} samples do not fit {frames} frames"
    # frames that see no sample of any segment are silence, and need no transform
    audible = min(context_samples, -(-(longest + N_FFT) // HOP) * HOP)
    batch = torch.stack([pad(segment, (0, audible - segment.shape[0])) for segment in pcm])
    raw = log_mel_frames(batch, bins)
    return normalise(pad(raw, (0, frames - raw.shape[2]), value=SILENCE))
