"""The next token of each row under Whisper's rules: the torch reference.

Rules are those of OpenAI's Whisper (``whisper/decoding.py``): suppressed tokens, what may follow
a timestamp, and the choice of a timestamp where all timestamps together are likelier than every
text token. Which of them hold for a row is four integers, so that rows of different sessions,
languages and positions share a batch. The Triton form is ``kernels/triton/token_pick.py``.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class TokenLayout(NamedTuple):
    """Where a vocabulary's special tokens lie. Tokens from ``timestamp_begin`` on are times."""

    end_of_text: int
    timestamp_begin: int


class PickRule(NamedTuple):
    """What one row may pick; four columns of the ``rules`` tensor.

    mask: row of ``masks`` that suppresses tokens. first_token: every token below is suppressed
    (0: none; ``end_of_text``: after a lone timestamp; ``timestamp_begin``: at the start of a
    segment with timestamps). timestamp_low, timestamp_high: the allowed times, ``[low, high)``
    (equal: none).
    """

    mask: int
    first_token: int
    timestamp_low: int
    timestamp_high: int


class Picked(NamedTuple):
    """One entry a row. Probabilities are those after suppression."""

    token: Tensor  # [rows] int64
    log_probability: Tensor  # [rows] float32
    end_of_text_probability: Tensor  # [rows] float32, 0 where it is suppressed


class TokenPick(Protocol):
    """See :func:`token_pick`, the reference, for what each argument is."""

    def __call__(
        self, logits: Tensor, masks: Tensor, rules: Tensor, layout: TokenLayout
    ) -> Picked: ...


def token_pick(logits: Tensor, masks: Tensor, rules: Tensor, layout: TokenLayout) -> Picked:
    """Greedy choice among the tokens that each row's rule allows; of equals the lowest.

    logits: ``[rows, vocab]`` of any float type; masks: ``[n, vocab]`` bool, true where suppressed;
    rules: ``[rows, 4]`` int32, a :class:`PickRule` each. Each row must allow some token.

    This form reads the rules on the host: a CPU fills a slice far faster than it compares.
    """
    begin = layout.timestamp_begin
    allowed = logits.float().masked_fill(masks[rules[:, 0].long()], -torch.inf)
    for row, (_, first_token, low, high) in enumerate(rules.tolist()):
        allowed[row, :first_token] = -torch.inf
        allowed[row, begin:low] = -torch.inf
        allowed[row, max(begin, high) :] = -torch.inf

    text, times = allowed.tensor_split([begin], dim=1)
    only_times = times.logsumexp(1) > text.amax(1)
    for row in only_times.nonzero()[:, 0].tolist():
        text[row] = -torch.inf
    best, token = allowed.max(dim=1)
    end_of_text = allowed[:, layout.end_of_text].clone()
    total = best + allowed.sub_(best[:, None]).exp_().sum(1).log_()
    return Picked(token, best - total, (end_of_text - total).exp_())
