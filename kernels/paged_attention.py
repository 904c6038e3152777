"""Attention over a cache of pages: the torch reference.

The subset of ``flash_attn.flash_attn_with_kvcache`` that exllamav2 calls, with the same arguments
and the same effect on the cache, for machines without flash-attn. The Triton form is
``kernels/triton/paged_attention.py``.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

PAGE = 256  # positions of one page; exllamav2's PAGED_PAGE_SIZE


class PagedAttention(Protocol):
    """See :func:`paged_attention`, the reference, for what each argument is."""

    def __call__(
        self,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        k: Tensor | None = None,
        v: Tensor | None = None,
        *,
        cache_seqlens: Tensor,
        block_table: Tensor,
        causal: bool = True,
        softmax_scale: float | None = None,
    ) -> Tensor: ...


def paged_attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    k: Tensor | None = None,
    v: Tensor | None = None,
    *,
    cache_seqlens: Tensor,
    block_table: Tensor,
    causal: bool = True,
    softmax_scale: float | None = None,
) -> Tensor:
    """Append ``k`` and ``v`` to their sequences' pages, then let ``q`` attend to all of them.

    q: ``[batch, T, heads, head_dim]``; k_cache, v_cache: ``[pages, PAGE, kv_heads, head_dim]`` of
    q's dtype, ``heads`` a multiple of ``kv_heads``; k, v: ``[batch, T, kv_heads, head_dim]``,
    written in place at ``cache_seqlens``; or both None, where the cache holds them already and
    ``cache_seqlens`` counts them. cache_seqlens: ``[batch]`` int32; block_table:
    ``[batch, max_pages]`` int32, the pages of each sequence in order. The last of the T queries
    sees every position of its sequence and each earlier one a position less; ``causal`` must be
    True. ``softmax_scale`` is ``head_dim ** -0.5`` if None.
    Returns ``[batch, T, heads, head_dim]`` of q's dtype.

    This form gathers every sequence's pages: it is the definition, not a way to be fast. On a CPU
    it attends in float32.
    """
    assert causal, "only causal attention is needed"
    assert k_cache.shape == v_cache.shape
    assert k_cache.shape[1] == PAGE
    assert (k is None) == (v is None)
    total = cache_seqlens
    if k is not None and v is not None:
        _append(k_cache, k, cache_seqlens, block_table)
        _append(v_cache, v, cache_seqlens, block_table)
        total = cache_seqlens + k.shape[1]
    dtype = torch.float32 if q.device.type == "cpu" else q.dtype
    attended = scaled_dot_product_attention(
        q.transpose(1, 2).to(dtype),
        _gather(k_cache, block_table, q.shape[2]).to(dtype),
        _gather(v_cache, block_table, q.shape[2]).to(dtype),
        attn_mask=_visible(total, q.shape[1], PAGE * block_table.shape[1])[:, None],
        scale=softmax_scale,
    )
    return attended.transpose(1, 2).to(q.dtype).contiguous()


def _append(cache: Tensor, new: Tensor, cache_seqlens: Tensor, block_table: Tensor) -> None:
    """Write ``new[b, t]`` to position ``cache_seqlens[b] + t`` of sequence ``b``."""
    offset = torch.arange(new.shape[1], device=new.device)
    position = cache_seqlens[:, None].long() + offset
    page = block_table.long().gather(1, position // PAGE)
    cache[page, position % PAGE] = new


def _gather(cache: Tensor, block_table: Tensor, heads: int) -> Tensor:
    """``[batch, heads, positions, head_dim]``, each key-value head once for each of its queries."""
    pages = cache[block_table.long()]  # [batch, pages, PAGE, kv_heads, head_dim]
    rows = pages.flatten(1, 2).transpose(1, 2)
    return rows.repeat_interleave(heads // cache.shape[2], dim=1)


def _visible(total: Tensor, queries: int, positions: int) -> Tensor:
    """``[batch, queries, positions]``: which position each query may see."""
    query = torch.arange(queries, device=total.device)
    seen = total[:, None] - (queries - 1 - query)
    return torch.arange(positions, device=total.device) < seen[:, :, None]
