"""The decoder's two attentions over slots, for a CPU and through ``kernels`` for a GPU."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from engine.whisper.cache import SlotCaches
from engine.whisper.packed import PackedRows, RowTable
from kernels.slot_attention import SlotAttention

CrossWeights = dict[tuple[int, int], Tensor]
"""By (layer, slot): softmax weights ``[heads, tokens of the slot's span, heard]``."""


class RowAttention(Protocol):
    """Attention of one pass; q, k, v and results are ``[rows, heads, head_dim]``."""

    def over_said(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Append k and v to the slots' caches and attend, causally, to what is there."""
        ...

    def over_heard(self, layer: int, q: Tensor) -> Tensor:
        """Attend to all that each row's slot has heard."""
        ...


class DenseAttention:
    """A CPU's form: one small product a span, over views of the caches.

    ``weights`` collects the cross-attention of every layer where it is given.
    """

    def __init__(
        self, caches: SlotCaches, rows: PackedRows, weights: CrossWeights | None = None
    ) -> None:
        self._caches = caches
        self._rows = rows
        self._weights = weights
        self._masks = [
            _causal(span.cached, len(span.tokens), rows.tokens.device) for span in rows.spans
        ]

    def over_said(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        caches, rows = self._caches, self._rows
        caches.append(layer, (rows.slots, rows.positions), k, v)
        queries = q.to(caches.self_k.dtype)
        mixed = torch.empty_like(queries, memory_format=torch.contiguous_format)
        first = 0
        for span, mask in zip(rows.spans, self._masks, strict=True):
            end, length = first + len(span.tokens), span.cached + len(span.tokens)
            attended = functional.scaled_dot_product_attention(
                queries[None, first:end].transpose(1, 2),
                caches.self_k[layer, None, span.slot, :, :length],
                caches.self_v[layer, None, span.slot, :, :length],
                attn_mask=mask,
            )
            mixed[first:end] = attended[0].transpose(0, 1)
            first = end
        return mixed.to(q.dtype)

    def over_heard(self, layer: int, q: Tensor) -> Tensor:
        queries = q * q.shape[-1] ** -0.5
        mixed = torch.empty_like(queries, memory_format=torch.contiguous_format)
        first = 0
        for span in self._rows.spans:
            end = first + len(span.tokens)
            keys, values = self._caches.cross(layer, span.slot)
            scores = torch.bmm(queries[first:end].transpose(0, 1), keys.transpose(1, 2))
            weights = torch.softmax(scores, -1)
            mixed[first:end] = torch.bmm(weights, values).transpose(0, 1)
            if self._weights is not None:
                self._weights[layer, span.slot] = weights
            first = end
        return mixed


def _causal(cached: int, fed: int, device: torch.device) -> Tensor | None:
    """Which of ``cached + fed`` positions each fed one may see; None if all."""
    if fed == 1:
        return None
    return torch.ones(fed, cached + fed, dtype=torch.bool, device=device).tril(cached)


class KernelAttention:
    """The GPU's form: one launch of ``attend``, a form of ``kernels``, for all rows.

    No number is read on the host, so that a pass can be captured in a CUDA graph.
    """

    def __init__(self, caches: SlotCaches, rows: RowTable, attend: SlotAttention) -> None:
        self._caches = caches
        self._rows = rows
        self._attend = attend
        self._at = (rows.slots.long(), rows.positions.long())
        self._heard = caches.heard.index_select(0, rows.slots)

    def over_said(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        caches, rows = self._caches, self._rows
        caches.append(layer, self._at, k, v)
        keys, values = caches.self_k[layer], caches.self_v[layer]
        return self._attend(q, keys, values, rows.slots, rows.lengths, rows.tiles)

    def over_heard(self, layer: int, q: Tensor) -> Tensor:
        keys, values = self._caches.cross_k[layer], self._caches.cross_v[layer]
        return self._attend(q, keys, values, self._rows.slots, self._heard, self._rows.tiles)
