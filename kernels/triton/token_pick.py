"""Suppression, arg-max, log-probability and end-of-text probability in one pass.

Arguments and results are those of ``kernels.token_pick.token_pick``.
"""

# ruff: noqa: N803 (constants of a kernel are written in capitals, as in Triton's own code)
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.token_pick import Picked, TokenLayout

BLOCK_TOKENS = 2048


@triton.jit
def _scan(logit_ptr, mask_ptr, begin, end, low, high, BLOCK: tl.constexpr):
    """Best logit among allowed tokens of ``[begin, end)``, its token, and the sum of
    ``exp(logit - best)``; allowed are those in ``[low, high)`` that the mask does not hold.
    """
    best = float("-inf")
    best_token = begin
    total = 0.0
    for start in range(begin, end, BLOCK):
        token = start + tl.arange(0, BLOCK)
        inside = (token < end) & (token >= low) & (token < high)
        suppressed = tl.load(mask_ptr + token, mask=inside, other=1)
        allowed = inside & (suppressed == 0)
        logit = tl.load(logit_ptr + token, mask=allowed, other=float("-inf")).to(tl.float32)
        top, index = tl.max(logit, axis=0, return_indices=True)
        new_best = tl.maximum(best, top)
        shift = tl.where(new_best == float("-inf"), 0.0, new_best)
        total = total * tl.exp(best - shift) + tl.sum(tl.exp(logit - shift), axis=0)
        best_token = tl.where(top > best, start + index, best_token)
        best = new_best
    return best, best_token, total


@triton.jit
def pick_kernel(
    logits_ptr,  # [rows, vocab]
    masks_ptr,  # [n, vocab] uint8
    rules_ptr,  # [rows, 4] int32
    token_ptr,  # [rows] int64
    log_probability_ptr,  # [rows] float32
    end_of_text_ptr,  # [rows] float32
    vocab,
    row_stride,
    end_of_text,
    timestamp_begin,
    BLOCK: tl.constexpr,
):
    """One row: text and times are scanned apart, since the last rule weighs one against the
    other.
    """
    row = tl.program_id(0).to(tl.int64)
    rule = rules_ptr + 4 * row
    mask = masks_ptr + tl.load(rule).to(tl.int64) * vocab
    first = tl.load(rule + 1)
    low = tl.maximum(first, tl.load(rule + 2))
    high = tl.load(rule + 3)
    logits = logits_ptr + row * row_stride
    text, text_token, text_sum = _scan(
        logits, mask, 0, timestamp_begin, first, timestamp_begin, BLOCK
    )
    time, time_token, time_sum = _scan(logits, mask, timestamp_begin, vocab, low, high, BLOCK)

    time_total = time + tl.log(time_sum)  # -inf where no time is allowed
    only_times = time_total > text
    top = tl.where(only_times, time, tl.maximum(text, time))
    text_share = tl.where(only_times, 0.0, text_sum * tl.exp(text - top))
    log_total = top + tl.log(text_share + time_sum * tl.exp(time - top))

    eot_allowed = (first <= end_of_text) & (tl.load(mask + end_of_text) == 0) & (only_times == 0)
    eot_logit = tl.load(logits + end_of_text).to(tl.float32)
    eot = tl.where(eot_allowed, tl.exp(eot_logit - log_total), 0.0)
    tl.store(token_ptr + row, tl.where(only_times, time_token, text_token).to(tl.int64))
    tl.store(log_probability_ptr + row, tl.where(only_times, time, text) - log_total)
    tl.store(end_of_text_ptr + row, eot)


def token_pick(logits: Tensor, masks: Tensor, rules: Tensor, layout: TokenLayout) -> Picked:
    """``kernels.token_pick.token_pick`` on a GPU; rows of logits are contiguous."""
    rows, vocab = logits.shape
    assert logits.stride(1) == 1
    assert all(table.is_contiguous() for table in (masks, rules))
    picked = Picked(
        torch.empty(rows, dtype=torch.int64, device=logits.device),
        torch.empty(rows, dtype=torch.float32, device=logits.device),
        torch.empty(rows, dtype=torch.float32, device=logits.device),
    )
    if rows:
        pick_kernel[(rows,)](
            logits, masks.view(torch.uint8), rules, *picked, vocab, logits.stride(0),
            layout.end_of_text, layout.timestamp_begin, BLOCK=BLOCK_TOKENS, num_warps=8,
        )  # fmt: skip
    return picked
