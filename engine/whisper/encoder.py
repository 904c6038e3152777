"""Whisper's encoder for any context length, a batch of equal lengths at a time.

Architecture: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision";
pre-norm transformer over two convolutions, exact GELU, sinusoidal positions sliced to length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from engine.whisper.build import HEAD_DIM, Builder
from engine.whisper.linear import LayerNorm
from engine.whisper.spec import WhisperSpec

_QUERY_BLOCK = 256
"""Queries whose scores are held at once, on a CPU."""

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one layer, each ``[batch, heads, positions, head_dim]``."""


class _Layer:
    def __init__(self, build: Builder, name: str, heads: int, attention: Attention) -> None:
        self._heads = heads
        self._attention = attention
        self._norm1 = build.norm(f"{name}/self_attention/layer_norm")
        self._qkv = build.query(f"{name}/self_attention/linear_0", heads * HEAD_DIM)
        self._out = build.linear(f"{name}/self_attention/linear_1")
        self._norm2 = build.norm(f"{name}/ffn/layer_norm")
        self._up = build.linear(f"{name}/ffn/linear_0", gelu=True)
        self._down = build.linear(f"{name}/ffn/linear_1")

    def __call__(self, x: Tensor, tail: KeysValues | None = None) -> KeysValues:
        """x ``[batch, positions, width]`` float32, changed in place.

        It attends to itself and to ``tail``. Returns its own keys and values.
        """
        batch, positions, width = x.shape
        qkv = self._qkv(self._norm1(x)).view(batch, positions, 3, self._heads, HEAD_DIM)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        keys, values = k, v
        if tail is not None:
            keys, values = torch.cat([k, tail[0]], 2), torch.cat([v, tail[1]], 2)
        mixed = self._attention(q, keys, values).transpose(1, 2).reshape(batch, positions, width)
        x += self._out(mixed)
        x += self._down(self._up(self._norm2(x)))
        return k, v


class Encoder:
    """Mel features to encoder states."""

    def __init__(self, build: Builder, spec: WhisperSpec) -> None:
        self.n_mels = spec.n_mels
        self._dtype = build.dtype
        self._conv1 = build.convolution("encoder/conv1")
        self._conv2 = build.convolution("encoder/conv2")
        positions = build.tensor("encoder/position_encodings/encodings")
        self._positions = positions.to(build.device)
        attention = Attention()
        self._layers = [
            _Layer(build, f"encoder/layer_{i}", spec.heads, attention)
            for i in range(spec.encoder_layers)
        ]
        self._norm = build.norm("encoder/layer_norm")

    def __call__(self, mel: Tensor) -> Tensor:
        """mel ``[batch, frames, n_mels]`` float32 -> ``[batch, frames / 2, width]``.

        ``frames`` is even and at most 3000. Time comes first so that a convolution is one
        matrix product over three neighbouring frames.
        """
        return self.begin(mel).finish()

    def begin(
        self,
        mel: Tensor,
        positions: int | None = None,
        tail: Sequence[KeysValues] = (),
        *,
        keep: bool = False,
    ) -> Encoding:
        """The convolutions only; the layers are run by the encoding.

        ``positions`` limits how many of them go on; ``tail`` holds keys and values of later
        positions for each layer; with ``keep`` those of the layers are kept.
        """
        assert mel.shape[1] % 2 == 0
        x = self._conv1(_neighbours(mel.to(self._dtype), stride=1))
        x = self._conv2(_neighbours(x, stride=2))[:, :positions]
        x = x.float() + self._positions[: x.shape[1]]
        return Encoding(x, self._layers, self._norm, tail, keep=keep)


class Encoding:
    """An encoder pass that can be run a layer at a time, so that it may be put off."""

    def __init__(
        self,
        states: Tensor,
        layers: Sequence[_Layer],
        norm: LayerNorm,
        tail: Sequence[KeysValues] = (),
        *,
        keep: bool = False,
    ) -> None:
        self._states = states
        self._layers = layers
        self._norm = norm
        self._tail = tail
        self._keep = keep
        self._done = 0
        self.kept: list[KeysValues] = []

    def advance(self) -> bool:
        """Run one layer; False if none is left."""
        if self._done < len(self._layers):
            tail = self._tail[self._done] if self._tail else None
            k, v = self._layers[self._done](self._states, tail)
            if self._keep:  # copies: a view would keep the queries as well
                self.kept.append((k.contiguous(), v.contiguous()))
            self._done += 1
        return self._done < len(self._layers)

    def finish(self) -> Tensor:
        """Run what is left. Returns ``[batch, positions, width]``."""
        while self.advance():
            pass
        return self._norm(self._states)


def _neighbours(x: Tensor, stride: int) -> Tensor:
    """``[batch, frames, width]`` -> ``[batch, frames / stride, 3 * width]``, zeros at the ends."""
    batch, frames, width = x.shape
    padded = functional.pad(x, (0, 0, 1, 1))
    rows = frames // stride
    strides = (padded.stride(0), stride * width, 1)
    return padded.as_strided((batch, rows, 3 * width), strides).contiguous()


class Attention:
    """Full self-attention with pre-scaled queries, ``[batch, heads, positions, head_dim]``.

    In bfloat16 on a CPU, two matrix products and a softmax take less than half the time of
    torch's fused attention, which works in float32 inside; blocks of queries keep the scores in
    cache, and one workspace keeps the kernel from handing out fresh pages for each layer.
    """

    def __init__(self) -> None:
        self._workspace = torch.empty(0, dtype=torch.bfloat16)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.device.type != "cpu" or q.dtype is not torch.bfloat16:
            return functional.scaled_dot_product_attention(q, k, v, scale=1.0)
        return torch.stack([self._one(*parts) for parts in zip(q, k, v, strict=True)])

    def _one(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads, positions, width = q.shape
        q, keys, v = q.contiguous(), k.contiguous().transpose(1, 2), v.contiguous()
        mixed = torch.empty(heads, positions, width, dtype=q.dtype)
        for first in range(0, positions, _QUERY_BLOCK):
            block = q[:, first : first + _QUERY_BLOCK]
            scores = self._scores((heads, block.shape[1], keys.shape[2]))
            torch.bmm(block, keys, out=scores)
            torch.ops.aten._softmax.out(scores, -1, False, out=scores)
            torch.bmm(scores, v, out=mixed[:, first : first + _QUERY_BLOCK])
        return mixed

    def _scores(self, shape: tuple[int, int, int]) -> Tensor:
        size = math.prod(shape)
        if self._workspace.numel() < size:
            self._workspace = torch.empty(size, dtype=torch.bfloat16)
        return self._workspace[:size].view(shape)
