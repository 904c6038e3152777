"""Rows of many slots in one pass: what the decoder is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.queues import send


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


class RowTable(NamedTuple):
    """The same for ``kernels``, which read it on the device: int32, ``[rows]`` each.

    ``lengths`` are the positions of its slot's own text that a row may see, 0 for a row of
    padding; ``tiles`` (of ``kernels.slot_attention.row_tiles``) are None where each slot has one
    row.
    """

    tokens: Tensor
    positions: Tensor
    slots: Tensor
    lengths: Tensor
    tiles: Tensor | None


def lay_out(spans: Sequence[Span]) -> tuple[list[int], list[int], list[int]]:
    """Tokens, positions and slots of ``spans``, each of another slot, end to end."""
    tokens = [token for span in spans for token in span.tokens]
    positions = [span.cached + i for span in spans for i in range(len(span.tokens))]
    slots = [span.slot for span in spans for _ in span.tokens]
    return tokens, positions, slots


def pack(spans: Sequence[Span], device: torch.device) -> PackedRows:
    """Lay ``spans`` out on ``device``."""
    table = send(torch.tensor(lay_out(spans)), device)
    return PackedRows(tuple(spans), *table.unbind())
