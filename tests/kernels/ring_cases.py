"""Ring buffers for the tests of ragged log-mel frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

HOP = 160
CAPACITY = 4_000


class Case(NamedTuple):
    rings: Tensor
    slot_begin: Tensor
    slot_end: Tensor
    frame_slot: Tensor
    frame_centre: Tensor


def chirp(samples: int, seed: int = 0) -> Tensor:
    """A swept tone over noise, ``[samples]`` float32 at 16 kHz."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / 16_000
    tone = 0.4 * np.sin(2 * np.pi * (200 * t + 300 * (seed + 1) * t**2))
    return torch.from_numpy((tone + 0.01 * rng.standard_normal(samples)).astype(np.float32))


def put(ring: Tensor, signal: Tensor, begin: int) -> None:
    """Write a signal whose first sample is number ``begin`` of the slot."""
    ring[torch.arange(begin, begin + len(signal)) % len(ring)] = signal


def make_case(device: torch.device | str = "cpu") -> Case:
    """Three slots: one from its start, one that wraps around, one that ends in mid-frame; frames
    of all of them in a mixed order, 37 in all.
    """
    spans = [(0, 3_200), (7_000, 10_500), (123, 2_000)]
    rings = torch.full((4, CAPACITY), 9.0)  # what is not signal must not be heard
    for slot, (begin, end) in enumerate(spans):
        put(rings[slot], chirp(end - begin, slot), begin)
    frames = [
        (slot, begin + HOP * t)
        for slot, (begin, end) in enumerate(spans)
        for t in range((end - begin) // HOP)
    ]
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))[:37]
    packed = torch.tensor(frames, dtype=torch.int32)[order].to(device)
    begins, ends = torch.tensor([*spans, (0, 0)], dtype=torch.int32, device=device).T
    return Case(
        rings.to(device), begins.contiguous(), ends.contiguous(),
        packed[:, 0].contiguous(), packed[:, 1].contiguous(),
    )  # fmt: skip
