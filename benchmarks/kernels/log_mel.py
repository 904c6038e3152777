"""Log-mel frames of many slots as audio arrives: ten frames (100 ms) of each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.kernels.timing import Case
from kernels.dispatch import REFERENCE, operations_for
from kernels.log_mel import HOP

CAPACITY = 30 * 16_000
FRAMES = 10


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """Features are float32 whatever the model's dtype is."""
    ours = operations_for(device, torch.float32)
    for slots in (1, 16, 256, 1024) if device.type == "cuda" else (1, 16, 64):
        rings = 0.1 * torch.randn(slots, CAPACITY, device=device)
        begin = torch.zeros(slots, dtype=torch.int32, device=device)
        end = torch.full_like(begin, CAPACITY)
        slot = torch.arange(slots, dtype=torch.int32, device=device).repeat_interleave(FRAMES)
        frame = torch.arange(FRAMES, dtype=torch.int32, device=device).repeat(slots)
        for bins in (80, 128):
            inputs = (rings, begin, end, slot, 160_000 + HOP * frame, bins)
            forms = {
                "torch": partial(REFERENCE.ragged_log_mel, *inputs),
                ours.name: partial(ours.ragged_log_mel, *inputs),
            }
            yield Case("ragged_log_mel", f"{slots} slots of {FRAMES} frames, {bins} bins", forms)
