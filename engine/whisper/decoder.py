"""Whisper's decoder over packed rows of many slots."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.whisper.attention import CrossWeights, DenseAttention, KernelAttention, RowAttention
from engine.whisper.build import HEAD_DIM, Builder
from engine.whisper.cache import SlotCaches
from engine.whisper.linear import Linear
from engine.whisper.packed import PackedRows, RowTable
from engine.whisper.spec import WhisperSpec
from kernels.dispatch import operations_for

_PROJECTED = 5  # dimensions of keys and values; encoder states have two


class _Layer:
    def __init__(self, build: Builder, index: int, heads: int) -> None:
        name = f"decoder/layer_{index}"
        self._index = index
        self._heads = heads
        self._norm1 = build.norm(f"{name}/self_attention/layer_norm")
        self._qkv = build.linear(f"{name}/self_attention/linear_0", few_rows=True)
        self._out1 = build.linear(f"{name}/self_attention/linear_1", few_rows=True)
        self._norm2 = build.norm(f"{name}/attention/layer_norm")
        self._query = build.linear(f"{name}/attention/linear_0", few_rows=True)
        self._out2 = build.linear(f"{name}/attention/linear_2", few_rows=True)
        self._norm3 = build.norm(f"{name}/ffn/layer_norm")
        self._up = build.linear(f"{name}/ffn/linear_0", gelu=True, few_rows=True)
        self._down = build.linear(f"{name}/ffn/linear_1", few_rows=True)

    def __call__(self, x: Tensor, attention: RowAttention) -> Tensor:
        """x ``[rows, width]`` float32, changed in place."""
        rows = len(x)
        qkv = self._qkv(self._norm1(x)).view(rows, 3, self._heads, HEAD_DIM)
        said = attention.over_said(self._index, *qkv.unbind(1))
        x += self._out1(said.view(rows, -1))
        q = self._query(self._norm2(x)).view(rows, self._heads, HEAD_DIM)
        heard = attention.over_heard(self._index, q)
        x += self._out2(heard.view(rows, -1))
        x += self._down(self._up(self._norm3(x)))
        return x


class Decoder:
    """Tokens to hidden states to logits; the residual stream is float32 in every dtype."""

    def __init__(self, build: Builder, spec: WhisperSpec, slots: int, *, compact: bool) -> None:
        self._spec = spec
        self.device = build.device
        self.embeddings = build.weights["decoder/embeddings/weight"]
        self._embeddings = self.embeddings.to(build.device)
        self._positions = build.tensor("decoder/position_encodings/encodings").to(build.device)
        self._layers = [_Layer(build, i, spec.heads) for i in range(spec.decoder_layers)]
        self._norm = Builder(build.weights, torch.float32, build.device).norm("decoder/layer_norm")
        self._hear = _cross_projection(build, spec)
        projection = build.tensor("decoder/projection/weight")
        self._project = Linear(projection, None, build.dtype, build.device, few_rows=True)
        self._dtype = build.dtype
        self._attend = operations_for(build.device, build.dtype).slot_attention
        self.caches = SlotCaches(spec, slots, build.dtype, build.device, compact=compact)

    def project(self, states: Tensor) -> Tensor:
        """Encoder states ``[positions, width]`` -> keys and values of every layer's
        cross-attention, ``[positions, layers, 2, heads, head_dim]``, in one product."""
        shape = (len(states), self._spec.decoder_layers, 2, self._spec.heads, HEAD_DIM)
        return self._hear(states).view(shape)

    def hear(self, slot: int, heard: Tensor) -> None:
        """Give a slot its encoder states, or what ``project`` made of them."""
        self.caches.hear(slot, heard if heard.ndim == _PROJECTED else self.project(heard))

    def __call__(self, rows: PackedRows, weights: CrossWeights | None = None) -> Tensor:
        """Feed ``rows`` to their slots. Returns ``[rows, width]`` float32, normalised.

        ``weights`` collects the cross-attention.
        """
        attention = DenseAttention(self.caches, rows, weights)
        return self._through(rows.tokens, rows.positions, attention)

    def feed(self, rows: RowTable) -> Tensor:
        """The same through ``kernels``: no number is read on the host. Not for compact caches."""
        assert not self.caches.compact
        attention = KernelAttention(self.caches, rows, self._attend)
        return self._through(rows.tokens, rows.positions, attention)

    def _through(self, tokens: Tensor, positions: Tensor, attention: RowAttention) -> Tensor:
        x = self._embeddings[tokens].float() + self._positions[positions]
        for layer in self._layers:
            x = layer(x, attention)
        return self._norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """``[rows, width]`` -> ``[rows, vocabulary]`` in the model's dtype."""
        return self._project(hidden.to(self._dtype))


def _cross_projection(build: Builder, spec: WhisperSpec) -> Linear:
    """Keys and values of every layer's cross-attention as one layer."""
    names = [f"decoder/layer_{i}/attention/linear_1" for i in range(spec.decoder_layers)]
    weight = torch.cat([build.tensor(f"{name}/weight") for name in names])
    bias = torch.cat([build.tensor(f"{name}/bias") for name in names])
    return Linear(weight, bias, build.dtype, build.device)
