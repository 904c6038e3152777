"""When was each token said: cross-attention of the heads that follow time.

Dynamic time warping over normalised attention is OpenAI Whisper's (``whisper/timing.py``); the
rule for what is settled is AlignAtt's (Papi et al. 2023, "AlignAtt: Using Attention-based
Audio-Translation Alignments as a Guide for Simultaneous Speech Translation").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn.functional import pad

POSITION_S = 0.02
"""Seconds of audio in one encoder position."""

UNSETTLED_S = 0.8
_MEDIAN_WIDTH = 7

Matrix = npt.NDArray[np.float64]


def settled_tokens(attention: Tensor, seconds: float, unsettled_s: float = UNSETTLED_S) -> int:
    """How many tokens of a growing segment more audio will hardly change.

    attention: ``[heads, tokens, positions]`` over the alignment heads; ``seconds`` of audio have
    been heard. A token is settled if it and all before it look most at audio that is not of the
    last ``unsettled_s``.
    """
    limit = (seconds - unsettled_s) / POSITION_S
    heard = max(1, round(seconds / POSITION_S))
    looks_at = attention.float().mean(0)[:, :heard].argmax(1).tolist()
    for settled, position in enumerate(looks_at):
        if position >= limit:
            return settled
    return len(looks_at)


def token_times(attention: Tensor, seconds: float) -> tuple[float, ...]:
    """When each token begins, in seconds from the window's begin.

    attention: ``[heads, tokens, positions]``; the last token is the end of text, so that its time
    is when the last word ends.
    """
    positions = max(1, min(attention.shape[2], round(seconds / POSITION_S)))
    weights = attention[:, :, :positions].float()
    weights = weights / weights.sum(-1, keepdim=True).clamp_(min=1e-12)
    deviation = weights.std(1, keepdim=True, correction=0).clamp_(min=1e-12)
    weights = (weights - weights.mean(1, keepdim=True)) / deviation
    matrix = _median(weights).mean(0).double().cpu().numpy()
    return tuple(float(first * POSITION_S) for first in _warp(-matrix))


def _median(weights: Tensor) -> Tensor:
    """Median over ``_MEDIAN_WIDTH`` positions, mirrored at the ends."""
    half = _MEDIAN_WIDTH // 2
    if weights.shape[-1] <= half:
        return weights
    mirrored = pad(weights, (half, half), mode="reflect")
    return mirrored.unfold(-1, _MEDIAN_WIDTH, 1).median(-1).values


def _warp(cost: Matrix) -> list[int]:
    """The cheapest monotonic path through ``cost`` [tokens, positions]: each token's first one.

    Costs are filled by anti-diagonals, so that each is one vector operation.
    """
    tokens, positions = cost.shape
    total = np.full((tokens + 1, positions + 1), np.inf)
    total[0, 0] = 0
    for diagonal in range(2, tokens + positions + 1):
        i = np.arange(max(1, diagonal - positions), min(tokens, diagonal - 1) + 1)
        j = diagonal - i
        best = np.minimum(np.minimum(total[i - 1, j - 1], total[i - 1, j]), total[i, j - 1])
        total[i, j] = cost[i - 1, j - 1] + best
    first = [0] * tokens
    i, j = tokens, positions
    while i > 0 and j > 0:
        first[i - 1] = j - 1
        steps = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        i, j = min(steps, key=lambda at: float(total[at]))
    return first
