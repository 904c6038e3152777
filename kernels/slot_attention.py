"""Attention of packed query rows, each against its own slot's cache: the torch reference.

Rows of all sessions lie in one packed tensor. A row names its slot and how many cached positions
it may see, so causality among several rows of one slot is nothing but their lengths, and no row
is padded to another's. The Triton form is ``kernels/triton/slot_attention.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

TILE_ROWS = 16  # rows of one slot that share a pass over its cache


class SlotAttention(Protocol):
    """See :func:`slot_attention`, the reference, for what each argument is."""

    def __call__(
        self,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        row_slot: Tensor,
        row_kv_len: Tensor,
        tiles: Tensor | None = None,
    ) -> Tensor: ...


def cut_tiles(row_slot: Sequence[int]) -> list[tuple[int, int]]:
    """Packed rows as runs of one slot and at most ``TILE_ROWS`` rows: first row, how many."""
    return [
        (begin, min(TILE_ROWS, end - begin))
        for first, end, _ in _runs(row_slot)
        for begin in range(first, end, TILE_ROWS)
    ]


def row_tiles(row_slot: Sequence[int]) -> Tensor:
    """The table of :func:`cut_tiles`, ``[tiles, 2]`` int32 on the CPU.

    Rows that follow one another and share a slot then share its keys and values; without a table
    each row reads alone. Entries ``(0, 0)`` may be added to fill a table of fixed size.
    """
    return torch.tensor(cut_tiles(row_slot), dtype=torch.int32).view(-1, 2)


def slot_attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    row_slot: Tensor,
    row_kv_len: Tensor,
    tiles: Tensor | None = None,
) -> Tensor:
    """Softmax attention with scale ``head_dim ** -0.5``, one row and head at a time.

    q: ``[rows, heads, head_dim]``; k_cache, v_cache: ``[slots, heads, max_len, head_dim]`` of q's
    dtype; row_slot, row_kv_len: ``[rows]`` int32, ``0 <= row_kv_len <= max_len``. A row of length
    0 gives zeros (it pads a CUDA graph's batch). tiles: of :func:`row_tiles`, not needed here.
    Returns ``[rows, heads, head_dim]`` of q's dtype.

    This form reads slots and lengths on the host and slices the caches without a copy, which is
    quick on a CPU and slow on a GPU. On a CPU it attends in float32: for the one row of a decoder
    step, half precision takes longer than to convert.
    """
    out = torch.zeros_like(q, memory_format=torch.contiguous_format)
    dtype = torch.float32 if q.device.type == "cpu" else q.dtype
    lengths = row_kv_len.tolist()
    for first, end, slot in _runs(row_slot.tolist()):
        longest, shortest = max(lengths[first:end]), min(lengths[first:end])
        if longest == 0:
            continue
        mask = None
        if shortest != longest:
            positions = torch.arange(longest, device=q.device)
            mask = positions < row_kv_len[first:end, None]
        attended = scaled_dot_product_attention(
            q[None, first:end].transpose(1, 2).to(dtype),
            k_cache[None, slot, :, :longest].to(dtype),
            v_cache[None, slot, :, :longest].to(dtype),
            attn_mask=mask,
        )
        out[first:end] = attended[0].transpose(0, 1)
        if shortest == 0:  # a softmax over nothing is not a number
            out[first:end].masked_fill_((row_kv_len[first:end] == 0)[:, None, None], 0.0)
    return out


def _runs(row_slot: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Runs of equal slots: first row, end, slot."""
    first = 0
    for slot, rows in groupby(row_slot):
        end = first + sum(1 for _ in rows)
        yield first, end, slot
        first = end
