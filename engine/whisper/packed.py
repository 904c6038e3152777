"""Rows of many slots in one pass: what the decoder is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens that one slot feeds in one pass, after ``cached`` that it has fed before."""

    slot: int
    cached: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Spans laid end to end, ``rows`` tokens in all; every tensor is ``[rows]`` int64."""

    spans: tuple[Span, ...]
    tokens: Tensor
    positions: Tensor
    slots: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


def pack(spans: Sequence[Span], device: torch.device) -> PackedRows:
    """Lay ``spans``, each of another slot, end to end."""
    tokens = [token for span in spans for token in span.tokens]
    positions = [span.cached + i for span in spans for i in range(len(span.tokens))]
    slots = [span.slot for span in spans for _ in span.tokens]
    table = torch.tensor([tokens, positions, slots]).to(device, non_blocking=True)
    return PackedRows(tuple(spans), *table.unbind())
