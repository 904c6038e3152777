"""Slot attention: decoder steps (a row a slot) and drafts (a run of rows a slot)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.kernels.timing import Case
from kernels.dispatch import REFERENCE, operations_for
from kernels.slot_attention import row_tiles

# heads of Whisper base and of large-v3-turbo, all of 64
MODELS = {"base": 8, "large-v3-turbo": 20}
HEAD_DIM = 64


def padded(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, row_slot: Tensor, row_kv_len: Tensor
) -> Tensor:
    """What there is without a kernel, at its best: every slot in use, with as many rows as any
    other, so that nothing is gathered; one call over all slots and their whole caches.
    """
    slots, heads, max_len, head_dim = k_cache.shape
    seen = torch.arange(max_len, device=q.device) < row_kv_len.view(slots, 1, -1, 1)
    rows = q.view(slots, -1, heads, head_dim).transpose(1, 2)
    attended = scaled_dot_product_attention(rows, k_cache, v_cache, attn_mask=seen)
    return attended.transpose(1, 2).reshape(q.shape)


def _inputs(
    slots: int, rows: int, heads: int, max_len: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Lengths from a third of the cache to all of it, rows of a slot one apart."""
    k, v = torch.randn(2, slots, heads, max_len, HEAD_DIM, device=device, dtype=dtype)
    q = torch.randn(slots * rows, heads, HEAD_DIM, device=device, dtype=dtype)
    row_slot = torch.arange(slots, dtype=torch.int32).repeat_interleave(rows)
    base = torch.linspace(max_len // 3, max_len - rows + 1, slots, dtype=torch.float64).int()
    lengths = base.repeat_interleave(rows) + torch.arange(rows, dtype=torch.int32).repeat(slots)
    return q, k, v, row_slot.to(device), lengths.to(device)


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    on_gpu = device.type == "cuda"
    ours = operations_for(device, dtype)
    for model, heads in MODELS.items() if on_gpu else [("base", MODELS["base"])]:
        for kind, max_len in (("self", 448), ("cross", 1500)):
            for slots in (1, 16, 64, 256) if on_gpu else (1, 4, 16):
                for rows in (1, 20):
                    inputs = _inputs(slots, rows, heads, max_len, device, dtype)
                    tiles = row_tiles(inputs[3].tolist()).to(device) if rows > 1 else None
                    forms = {
                        "torch": partial(REFERENCE.slot_attention, *inputs, tiles),
                        "padded": partial(padded, *inputs),
                        ours.name: partial(ours.slot_attention, *inputs, tiles),
                    }
                    name = f"{model} {kind}, {slots} slots of {rows} rows"
                    yield Case("slot_attention", name, forms)
