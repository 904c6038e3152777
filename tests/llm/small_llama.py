"""Llama written out in torch, to run the small model of ``hf_model`` without any engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import embedding, linear, rms_norm, scaled_dot_product_attention, silu

from kernels.paged_attention import PAGE, paged_attention

# layer, q [batch, T, heads, dim], k and v [batch, T, kv_heads, dim] -> [batch, T, heads, dim]
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class SmallLlama:
    """Weights in float32."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self._weights = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
        self.heads = self.config["num_attention_heads"]
        self.kv_heads = self.config["num_key_value_heads"]
        self.head_dim = self.config["hidden_size"] // self.heads
        self.layers = self.config["num_hidden_layers"]

    def logits(self, ids: Tensor, start: Tensor, attend: Attend) -> Tensor:
        """ids: ``[batch, T]``; start: ``[batch]``, where each begins. The last token's logits."""
        x = embedding(ids, self._weights["model.embed_tokens.weight"])
        rotation = self._rotation(start[:, None] + torch.arange(ids.shape[1]))
        for layer in range(self.layers):
            x = x + self._attention(
                layer, self._norm(f"{layer}.input_layernorm", x), rotation, attend
            )
            x = x + self._mlp(layer, self._norm(f"{layer}.post_attention_layernorm", x))
        weight = self._weights["model.norm.weight"]
        x = rms_norm(x[:, -1], weight.shape, weight, self.config["rms_norm_eps"])
        return linear(x, self._weights["model.embed_tokens.weight"])

    def _attention(
        self, layer: int, x: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend
    ) -> Tensor:
        q, k, v = (
            self._linear(f"{layer}.self_attn.{name}_proj", x).unflatten(-1, (-1, self.head_dim))
            for name in "qkv"
        )
        out = attend(layer, _rotate(q, rotation), _rotate(k, rotation), v.contiguous())
        return self._linear(f"{layer}.self_attn.o_proj", out.flatten(2))

    def _mlp(self, layer: int, x: Tensor) -> Tensor:
        gate, up = (self._linear(f"{layer}.mlp.{name}_proj", x) for name in ("gate", "up"))
        return self._linear(f"{layer}.mlp.down_proj", silu(gate) * up)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self._weights[f"model.layers.{name}.weight"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight = self._weights[f"model.layers.{name}.weight"]
        return rms_norm(x, weight.shape, weight, self.config["rms_norm_eps"])

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        half = torch.arange(0, self.head_dim, 2) / self.head_dim
        angle = positions[..., None] / self.config["rope_theta"] ** half
        return angle.cos()[:, :, None], angle.sin()[:, :, None]


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding with the halves of a head apart, as Hugging Face stores Llama."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def attend_whole(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """No cache: every position of the sequence is there."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    out = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out.transpose(1, 2)


class Pages:
    """A paged cache for a batch, used as exllamav2 uses it; the pages are scattered."""

    def __init__(self, model: SmallLlama, sequences: int, pages_each: int) -> None:
        shape = (2, model.layers, sequences * pages_each, PAGE, model.kv_heads, model.head_dim)
        self._k, self._v = torch.zeros(shape)
        order = torch.randperm(sequences * pages_each, generator=torch.Generator().manual_seed(0))
        self._table = order.view(sequences, pages_each).int()
        self.rows = torch.arange(sequences)
        self.lengths = torch.zeros(sequences, dtype=torch.int32)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return paged_attention(
            q, self._k[layer], self._v[layer], k, v,
            cache_seqlens=self.lengths[self.rows], block_table=self._table[self.rows],
        )  # fmt: skip

    def logits(self, model: SmallLlama, ids: Tensor, rows: list[int]) -> Tensor:
        """Append ``ids`` ``[rows, T]`` to those sequences."""
        self.rows = torch.tensor(rows)
        found = model.logits(ids, self.lengths[self.rows], self.attend)
        self.lengths[self.rows] += ids.shape[1]
        return found
