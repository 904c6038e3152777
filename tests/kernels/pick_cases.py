"""Rows for the tests of token choice, and OpenAI Whisper's rules written out one by one."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.token_pick import PickRule, TokenLayout

LAYOUT = TokenLayout(end_of_text=50_257, timestamp_begin=50_364)
VOCAB = 51_865
EOT, TIMES = LAYOUT

PLAIN = PickRule(0, 0, TIMES, TIMES)
RULES = {
    "no timestamps": PLAIN,
    "first token": PickRule(1, 0, TIMES, TIMES),
    "times or text": PickRule(0, 0, TIMES, VOCAB),
    "first time": PickRule(0, TIMES, TIMES, TIMES + 51),
    "after a lone time": PickRule(0, EOT, TIMES + 100, VOCAB),
    "after a pair of times": PickRule(0, 0, TIMES, TIMES),
    "times from the last on": PickRule(1, 0, TIMES + 700, VOCAB),
}


class Case(NamedTuple):
    logits: Tensor
    masks: Tensor
    rules: Tensor
    layout: TokenLayout


def make_case(
    rules: list[PickRule],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    time_boost: float = 0.0,
    seed: int = 0,
) -> Case:
    """Random logits under two masks: some hundred suppressed tokens, and those with end-of-text."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(len(rules), VOCAB, generator=generator)
    logits[:, TIMES:] += time_boost
    masks = torch.zeros(2, VOCAB, dtype=torch.bool)
    masks[:, torch.randint(0, TIMES, (300,), generator=generator)] = True
    masks[:, EOT] = False
    masks[:, EOT + 1 : TIMES] = True  # special tokens
    masks[1, [220, EOT]] = True
    packed = torch.tensor(rules, dtype=torch.int32).view(-1, 4)
    return Case(logits.to(device, dtype), masks.to(device), packed.to(device), LAYOUT)


def by_the_book(logits: Tensor, mask: Tensor, rule: PickRule) -> tuple[int, float, float]:
    """One row as in ``whisper/decoding.py``: filters in turn, then a log-softmax."""
    logits = logits.double().cpu().clone()
    logits[mask.cpu()] = -math.inf
    logits[: rule.first_token] = -math.inf
    logits[TIMES : max(TIMES, rule.timestamp_low)] = -math.inf
    logits[max(TIMES, rule.timestamp_high) :] = -math.inf
    log_p = logits.log_softmax(0)
    if log_p[TIMES:].logsumexp(0) > log_p[:TIMES].max():
        logits[:TIMES] = -math.inf
    log_p = logits.log_softmax(0)
    token = int(logits.argmax())
    return token, float(log_p[token]), float(log_p[EOT].exp())
