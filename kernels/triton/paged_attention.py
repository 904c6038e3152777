"""Attention over a cache of pages, split over the length (as in Flash-Decoding).

Arguments and results are those of ``kernels.paged_attention.paged_attention``. The query heads
that share a key-value head are rows of one tile, so each page is read once for all of them.
Nothing is read back to the host, and the grid depends on shapes only.
"""

# ruff: noqa: N803 (constants of a kernel are written in capitals, as in Triton's own code)
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.paged_attention import PAGE
from kernels.triton.slot_attention import choose_splits, combine_kernel, processors

BLOCK_KEYS = 64  # divides a page, so that a block of keys lies in one


@triton.jit
def append_kernel(
    k_ptr,  # [batch, new, kv_heads, HEAD_DIM]
    v_ptr,
    k_cache_ptr,  # [pages, PAGE, kv_heads, HEAD_DIM]
    v_cache_ptr,
    length_ptr,  # [batch] int32
    table_ptr,  # [batch, max_pages] int32
    new,
    row_size,  # kv_heads * HEAD_DIM
    max_pages,
    PAGE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Copy one new position's keys and values, all heads of it, to its place in the pages."""
    sequence = tl.program_id(0)
    offset = tl.program_id(1)
    position = tl.load(length_ptr + sequence) + offset
    page = tl.load(table_ptr + sequence * max_pages + position // PAGE).to(tl.int64)
    source = (sequence * new + offset).to(tl.int64) * row_size
    target = (page * PAGE + position % PAGE) * row_size
    for start in range(0, row_size, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < row_size
        k = tl.load(k_ptr + source + column, mask=inside)
        v = tl.load(v_ptr + source + column, mask=inside)
        tl.store(k_cache_ptr + target + column, k, mask=inside)
        tl.store(v_cache_ptr + target + column, v, mask=inside)


@triton.jit
def attend_pages_kernel(
    q_ptr,  # [batch, queries, heads, HEAD_DIM]
    k_ptr,  # [pages, PAGE, kv_heads, HEAD_DIM]
    v_ptr,
    length_ptr,  # [batch] int32; the new positions not counted where ADDED is not 0
    table_ptr,  # [batch, max_pages] int32
    out_ptr,  # [SPLITS, batch, queries, heads, HEAD_DIM]
    lse_ptr,  # [SPLITS, batch, queries, heads] float32, base 2; not written where SPLITS is 1
    batch,
    queries,
    heads,
    kv_heads,
    added,  # new positions that length_ptr does not count
    max_pages,
    scale_log2,
    GROUP: tl.constexpr,  # query heads that share a key-value head
    BLOCK_ROWS: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    PAGE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,  # HEAD_DIM rounded up to a power of two
    SPLITS: tl.constexpr,
):
    """One tile of (query, head of the group) rows, one key-value head, one part of the length."""
    tiles = tl.cdiv(queries * GROUP, BLOCK_ROWS)
    sequence = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    kv_head = tl.program_id(1)
    split = tl.program_id(2)

    row = tile * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    query = row // GROUP
    live = query < queries
    total = tl.load(length_ptr + sequence) + added
    seen = tl.where(live, total - queries + 1 + query, 0)
    longest = tl.max(seen, axis=0)
    part = tl.cdiv(tl.cdiv(longest, BLOCK_KEYS), SPLITS) * BLOCK_KEYS
    begin = split * part
    end = tl.minimum(begin + part, longest)

    dim = tl.arange(0, DIM)
    in_head = dim < HEAD_DIM
    head = kv_head * GROUP + row % GROUP
    entry = (sequence * queries + query).to(tl.int64) * heads + head
    q_offset = entry[:, None] * HEAD_DIM + dim[None, :]
    q = tl.load(q_ptr + q_offset, mask=live[:, None] & in_head[None, :], other=0.0)
    top = tl.full([BLOCK_ROWS], float("-inf"), tl.float32)
    weights = tl.zeros([BLOCK_ROWS], tl.float32)
    acc = tl.zeros([BLOCK_ROWS, DIM], tl.float32)
    for start in range(begin, end, BLOCK_KEYS):
        page = tl.load(table_ptr + sequence * max_pages + start // PAGE).to(tl.int64)
        key = start + tl.arange(0, BLOCK_KEYS)
        place = (page * PAGE + key % PAGE) * kv_heads + kv_head
        cached = place[:, None] * HEAD_DIM + dim[None, :]
        inside = (key < end)[:, None] & in_head[None, :]
        k = tl.load(k_ptr + cached, mask=inside, other=0.0)
        v = tl.load(v_ptr + cached, mask=inside, other=0.0)
        score = tl.dot(q, tl.trans(k), input_precision="ieee") * scale_log2
        visible = (key < end)[None, :] & (key[None, :] < seen[:, None])
        score = tl.where(visible, score, float("-inf"))
        new_top = tl.maximum(top, tl.max(score, axis=1))
        # a row that has seen no key yet has no maximum to subtract
        shift = tl.where(new_top == float("-inf"), 0.0, new_top)
        weight = tl.exp2(score - shift[:, None])
        shrink = tl.exp2(top - shift)
        weights = weights * shrink + tl.sum(weight, axis=1)
        acc = acc * shrink[:, None]
        acc += tl.dot(weight.to(v.dtype), v, input_precision="ieee")
        top = new_top

    acc = acc / tl.where(weights == 0.0, 1.0, weights)[:, None]
    entry += split.to(tl.int64) * batch * queries * heads
    out = out_ptr + entry[:, None] * HEAD_DIM + dim[None, :]
    tl.store(out, acc.to(out_ptr.dtype.element_ty), mask=live[:, None] & in_head[None, :])
    if SPLITS > 1:
        tl.store(lse_ptr + entry, top + tl.log2(weights), mask=live)


def tile_shape(rows: int, dim: int) -> tuple[int, int, int]:
    """Rows of a tile, warps and pipeline stages: small tiles for a step, larger for a prompt.

    Two stages of 64 keys and values of 256 half-precision numbers are 128 KiB: more than an
    sm_89 block may use, so wide heads go without a pipeline.
    """
    if rows <= 16:
        return 16, 4, 2 if dim <= 128 else 1
    return 64, 4 if dim <= 64 else 8, 2 if dim <= 128 else 1


def joining_warps(dim: int) -> int:
    """Warps that join the parts of one row: up to 32 of them lie in registers."""
    return 1 if dim <= 64 else 4


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
    """``kernels.paged_attention.paged_attention`` on a GPU; every tensor is contiguous."""
    heads, head_dim = q.shape[2:]
    pages, page, kv_heads, _ = k_cache.shape
    assert causal, "only causal attention is needed"
    assert page == PAGE
    assert k_cache.shape == v_cache.shape == (pages, PAGE, kv_heads, head_dim)
    assert heads % kv_heads == 0
    assert all(x.is_contiguous() for x in (q, k_cache, v_cache, cache_seqlens, block_table))
    # a model may be split over devices, and a kernel starts on the current one
    with torch.cuda.device(q.device) if q.is_cuda else nullcontext():
        return _attend(q, k_cache, v_cache, k, v, cache_seqlens, block_table, softmax_scale)


def _attend(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    k: Tensor | None,
    v: Tensor | None,
    cache_seqlens: Tensor,
    block_table: Tensor,
    softmax_scale: float | None,
) -> Tensor:
    batch, queries, heads, head_dim = q.shape
    kv_heads = k_cache.shape[2]
    out = torch.empty_like(q)
    if q.numel() == 0:
        return out
    added = 0
    if k is not None and v is not None:
        added = k.shape[1]
        _append(k, v, k_cache, v_cache, cache_seqlens, block_table)
    group = heads // kv_heads
    dim = triton.next_power_of_2(head_dim)
    rows, warps, stages = tile_shape(queries * group, dim)
    programs = batch * triton.cdiv(queries * group, rows)
    splits = choose_splits(programs * kv_heads, PAGE * block_table.shape[1], processors(q.device))
    parts, lse = out, out
    if splits > 1:
        parts = torch.empty((splits, *q.shape), dtype=torch.float32, device=q.device)
        lse = torch.empty((splits, *q.shape[:3]), dtype=torch.float32, device=q.device)
    scale = head_dim**-0.5 if softmax_scale is None else softmax_scale
    attend_pages_kernel[(programs, kv_heads, splits)](
        q, k_cache, v_cache, cache_seqlens, block_table, parts, lse,
        batch, queries, heads, kv_heads, added, block_table.shape[1], scale * math.log2(math.e),
        GROUP=group, BLOCK_ROWS=rows, BLOCK_KEYS=BLOCK_KEYS, PAGE=PAGE,
        HEAD_DIM=head_dim, DIM=dim, SPLITS=splits, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    if splits > 1:
        entries = batch * queries * heads
        combine_kernel[(entries,)](
            parts,
            lse,
            out,
            entries,
            HEAD_DIM=head_dim,
            DIM=dim,
            SPLITS=splits,
            num_warps=joining_warps(dim),
        )
    return out


def _append(
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    cache_seqlens: Tensor,
    block_table: Tensor,
) -> None:
    batch, new, kv_heads, head_dim = k.shape
    assert k.shape == v.shape
    assert k.is_contiguous()
    assert v.is_contiguous()
    row_size = kv_heads * head_dim
    append_kernel[(batch, new)](
        k, v, k_cache, v_cache, cache_seqlens, block_table, new, row_size, block_table.shape[1],
        PAGE=PAGE, BLOCK=min(1024, triton.next_power_of_2(row_size)),
    )  # fmt: skip
