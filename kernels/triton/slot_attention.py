"""Attention of packed rows against slots, split over the length (as in Flash-Decoding).

Arguments and results are those of ``kernels.slot_attention.slot_attention``. Nothing is read
back to the host, and the grid depends on shapes only, so a call can be captured in a CUDA graph.
"""

# ruff: noqa: N803 (constants of a kernel are written in capitals, as in Triton's own code)
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import math
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.slot_attention import TILE_ROWS

BLOCK_KEYS = 64
MAX_SPLITS = 32


@triton.jit
def attend_kernel(
    q_ptr,  # [rows, heads, DIM], rows q_stride apart
    k_ptr,  # [slots, heads, max_len, DIM]
    v_ptr,
    slot_ptr,  # [rows] int32
    length_ptr,  # [rows] int32
    tile_ptr,  # [tiles, 2] int32; not read where BLOCK_ROWS is 1
    out_ptr,  # [SPLITS, rows, heads, DIM]
    lse_ptr,  # [SPLITS, rows, heads] float32, base 2; not written where SPLITS is 1
    rows,
    heads,
    q_stride,
    slot_stride,
    head_stride,
    scale_log2,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    DIM: tl.constexpr,
    SPLITS: tl.constexpr,
):
    """One run of rows of one slot, one head, one part of the slot's length."""
    tile = tl.program_id(0)
    head = tl.program_id(1)
    split = tl.program_id(2)
    if BLOCK_ROWS == 1:
        first = tile
        count = 1
    else:
        first = tl.load(tile_ptr + 2 * tile)
        count = tl.load(tile_ptr + 2 * tile + 1)
    offset = tl.arange(0, BLOCK_ROWS)
    row = first + offset
    live = offset < count
    dim = tl.arange(0, DIM)
    length = tl.load(length_ptr + row, mask=live, other=0)
    longest = tl.max(length, axis=0)
    part = tl.cdiv(tl.cdiv(longest, BLOCK_KEYS), SPLITS) * BLOCK_KEYS
    begin = split * part
    end = tl.minimum(begin + part, longest)

    slot = tl.load(slot_ptr + first).to(tl.int64)
    base = slot * slot_stride + head * head_stride
    q_offset = row[:, None].to(tl.int64) * q_stride + head * DIM + dim[None, :]
    q = tl.load(q_ptr + q_offset, mask=live[:, None], other=0.0)
    top = tl.full([BLOCK_ROWS], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_ROWS], tl.float32)
    acc = tl.zeros([BLOCK_ROWS, DIM], tl.float32)
    for start in range(begin, end, BLOCK_KEYS):
        key = start + tl.arange(0, BLOCK_KEYS)
        cached = base + key[:, None] * DIM + dim[None, :]
        inside = key < end
        k = tl.load(k_ptr + cached, mask=inside[:, None], other=0.0)
        v = tl.load(v_ptr + cached, mask=inside[:, None], other=0.0)
        if BLOCK_ROWS == 1:  # too few rows for the matrix units, and bound by memory
            score = tl.sum(q.to(tl.float32) * k.to(tl.float32), axis=1)[None, :]
        else:
            score = tl.dot(q, tl.trans(k), input_precision="ieee")
        seen = inside[None, :] & (key[None, :] < length[:, None])
        score = tl.where(seen, score * scale_log2, float("-inf"))
        new_top = tl.maximum(top, tl.max(score, axis=1))
        # a row that has seen no key yet has no maximum to subtract
        shift = tl.where(new_top == float("-inf"), 0.0, new_top)
        weight = tl.exp2(score - shift[:, None])
        shrink = tl.exp2(top - shift)
        total = total * shrink + tl.sum(weight, axis=1)
        acc = acc * shrink[:, None]
        if BLOCK_ROWS == 1:
            acc += tl.sum(tl.trans(weight) * v.to(tl.float32), axis=0)[None, :]
        else:
            acc += tl.dot(weight.to(v.dtype), v, input_precision="ieee")
        top = new_top

    acc = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    entry = (split * rows + row).to(tl.int64) * heads + head
    out = out_ptr + entry[:, None] * DIM + dim[None, :]
    tl.store(out, acc.to(out_ptr.dtype.element_ty), mask=live[:, None])
    if SPLITS > 1:
        tl.store(lse_ptr + entry, top + tl.log2(total), mask=live)


@triton.jit
def combine_kernel(
    part_ptr,  # [SPLITS, rows, heads, HEAD_DIM] float32
    lse_ptr,  # [SPLITS, rows, heads] float32, base 2
    out_ptr,  # [rows, heads, HEAD_DIM]
    entries,  # rows * heads
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,  # HEAD_DIM rounded up to a power of two
    SPLITS: tl.constexpr,
):
    """Join the parts of one row and head, each weighed by its share of the softmax."""
    entry = tl.program_id(0).to(tl.int64)
    split = tl.arange(0, SPLITS)
    dim = tl.arange(0, DIM)
    lse = tl.load(lse_ptr + split * entries + entry)
    top = tl.max(lse, axis=0)
    weight = tl.exp2(lse - tl.where(top == float("-inf"), 0.0, top))
    in_head = dim < HEAD_DIM
    offset = (split * entries + entry)[:, None] * HEAD_DIM + dim[None, :]
    part = tl.load(part_ptr + offset, mask=in_head[None, :], other=0.0)
    total = tl.sum(weight, axis=0)
    joined = tl.sum(part * weight[:, None], axis=0) / tl.where(total == 0.0, 1.0, total)
    out = out_ptr + entry * HEAD_DIM + dim
    tl.store(out, joined.to(out_ptr.dtype.element_ty), mask=in_head)


@cache
def processors(device: torch.device) -> int:
    """Multiprocessors of a GPU."""
    if device.type != "cuda":  # the interpreter: few, so that splits are tested
        return 8
    return torch.cuda.get_device_properties(device).multi_processor_count


def choose_splits(programs: int, max_len: int, processors: int) -> int:
    """Parts of the length, a power of two: enough programs to fill the device twice."""
    wanted = max(1, 2 * processors // max(1, programs))
    useful = max(1, max_len // (2 * BLOCK_KEYS))
    parts = min(wanted, useful, MAX_SPLITS)
    return 1 << (parts.bit_length() - 1)


def slot_attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    row_slot: Tensor,
    row_kv_len: Tensor,
    tiles: Tensor | None = None,
) -> Tensor:
    """``kernels.slot_attention.slot_attention`` on a GPU; ``tiles`` lie on the same device.

    Caches and the last two dimensions of q are contiguous; head_dim is a power of two.
    """
    rows, heads, head_dim = q.shape
    max_len = k_cache.shape[2]
    assert k_cache.shape == v_cache.shape
    assert all(cache.is_contiguous() for cache in (k_cache, v_cache))
    assert q.stride()[1:] == (head_dim, 1)
    assert head_dim == triton.next_power_of_2(head_dim)
    out = torch.empty((rows, heads, head_dim), dtype=q.dtype, device=q.device)
    programs = rows if tiles is None else tiles.shape[0]
    if programs == 0:
        return out
    splits = choose_splits(programs * heads, max_len, processors(q.device))
    parts, lse = out, out
    if splits > 1:
        parts = torch.empty((splits, rows, heads, head_dim), dtype=torch.float32, device=q.device)
        lse = torch.empty((splits, rows, heads), dtype=torch.float32, device=q.device)
    attend_kernel[(programs, heads, splits)](
        q, k_cache, v_cache, row_slot, row_kv_len, row_slot if tiles is None else tiles,
        parts, lse, rows, heads, q.stride(0), k_cache.stride(0), k_cache.stride(1),
        head_dim**-0.5 * math.log2(math.e),
        BLOCK_ROWS=1 if tiles is None else TILE_ROWS, BLOCK_KEYS=BLOCK_KEYS,
        DIM=head_dim, SPLITS=splits,
    )  # fmt: skip
    if splits > 1:
        combine_kernel[(rows * heads,)](
            parts, lse, out, rows * heads,
            HEAD_DIM=head_dim, DIM=head_dim, SPLITS=splits, num_warps=1,
        )  # fmt: skip
    return out
