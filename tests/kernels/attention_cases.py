"""Batches for the tests of slot attention, and the definition to test against."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Case(NamedTuple):
    q: Tensor
    k_cache: Tensor
    v_cache: Tensor
    row_slot: Tensor
    row_kv_len: Tensor


def make_case(
    row_slot: list[int],
    row_kv_len: list[int],
    *,
    heads: int = 2,
    head_dim: int = 64,
    max_len: int = 448,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Case:
    """Random rows; positions of the cache that no row may see hold values that would show."""
    generator = torch.Generator().manual_seed(seed)
    slots = max(row_slot, default=0) + 2
    q = torch.randn(len(row_slot), heads, head_dim, generator=generator)
    k, v = torch.randn(2, slots, heads, max_len, head_dim, generator=generator)
    seen = torch.zeros(slots, dtype=torch.long)
    for slot, length in zip(row_slot, row_kv_len, strict=True):
        seen[slot] = max(int(seen[slot]), length)
    hidden = torch.arange(max_len) >= seen[:, None]
    k[hidden[:, None].expand(-1, heads, -1)] = 1e4
    v[hidden[:, None].expand(-1, heads, -1)] = 1e4
    ints = (torch.tensor(x, dtype=torch.int32, device=device) for x in (row_slot, row_kv_len))
    return Case(*(x.to(device, dtype) for x in (q, k, v)), *ints)


def by_definition(case: Case) -> Tensor:
    """Softmax attention written out, one row at a time, in float64."""
    q, k, v = case.q.double().cpu(), case.k_cache.double().cpu(), case.v_cache.double().cpu()
    out = torch.zeros_like(q)
    for row, (slot, length) in enumerate(
        zip(case.row_slot.tolist(), case.row_kv_len.tolist(), strict=True)
    ):
        if length:
            keys, values = k[slot, :, :length], v[slot, :, :length]
            score = torch.einsum("hd,hnd->hn", q[row], keys) * q.shape[-1] ** -0.5
            out[row] = torch.einsum("hn,hnd->hd", score.softmax(1), values)
    return out
