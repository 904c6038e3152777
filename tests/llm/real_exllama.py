"""exllamav2's own generator on a CPU: its pages, jobs and batches, around a model written in torch.

Only what is compiled is replaced: the extension's few functions that the generator calls, the
layers (``SmallLlama``, with the paged attention that was put into ``exllamav2.attn``) and the
sampler (the likeliest token).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from small_llama import SmallLlama
from torch import Tensor

from engine.llm import exllama_model
from kernels.dispatch import REFERENCE
from kernels.paged_attention import PAGE


class Extension(ModuleType):
    """``exllamav2_ext``: what is not written here is not called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_: pytest.fail(f"the extension's {name} was called")

    @staticmethod
    def count_match(first: Tensor, second: Tensor, longest: int) -> int:
        count = min(longest, first.shape[-1], second.shape[-1])
        same = (first[0, :count] == second[0, :count]).int()
        return int(same.cumprod(0).sum())

    @staticmethod
    def partial_strings_match(text: Any, offsets: Any, strings: Any) -> int:
        """Where a stop text begins; -2 if the end may be the beginning of one; else -1."""
        said, ends = bytes(text).decode("utf-32-le"), memoryview(bytes(offsets)).cast("i").tolist()
        stops = [bytes(strings)[begin:end].decode("utf-32-le") for begin, end in pairwise(ends)]
        for place in range(len(said)):
            if any(said.startswith(stop, place) for stop in stops):
                return place
        held = any(stop.startswith(said[i:]) for i in range(len(said)) for stop in stops)
        return -2 if held else -1


class Cache:
    """``ExLlamaV2Cache`` in float32, one tensor of pages for each layer."""

    batch_size = 1

    def __init__(self, model: Model, max_seq_len: int, lazy: bool) -> None:
        llama = model.llama
        self.max_seq_len = max_seq_len
        shape = (llama.layers, max_seq_len // PAGE, PAGE, llama.kv_heads, llama.head_dim)
        self.k, self.v = torch.zeros(2, *shape)

    def rows(self) -> list[Tensor]:
        """``[layers, positions, kv_heads, head_dim]`` of keys and of values, not copied."""
        return [x.flatten(1, 2) for x in (self.k, self.v)]

    def all_tensors(self) -> list[Tensor]:
        return [layer[None] for x in self.rows() for layer in x]

    def copy_states(
        self, target: Cache, source: int, count: int, place: int, target_count: int, *rest: int
    ) -> None:
        for x in self.rows():
            x[:, place : place + count] = x[:, source : source + count].clone()


class Model:
    """``ExLlamaV2``; ``calls`` are the shapes it was asked for. ``broken`` fails its prompts."""

    folder: Path

    def __init__(self, config: Any) -> None:
        self.config, self.llama = config, SmallLlama(self.folder)
        self.calls: list[tuple[int, int]] = []
        self.broken: Exception | None = None

    def load_autosplit(self, cache: Cache, progress: bool) -> None:
        self.config.max_input_len = min(self.config.max_input_len, self.config.max_seq_len)

    def unload(self) -> None:
        """Nothing is on a GPU."""

    def forward_chunk(
        self, input_ids: Tensor, attn_params: Any, cache: Cache, **more: Any
    ) -> dict[str, Tensor]:
        if self.broken is not None and more.get("preprocess_only"):
            raise self.broken
        self.calls.append((input_ids.shape[0], input_ids.shape[1]))
        attend = _sequential if attn_params.is_sequential else _paged

        def layer(index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend(attn_params, cache, index, q, k, v)

        return {"logits": self.llama.logits(input_ids, attn_params.cache_seqlens, layer)[:, None]}


def _paged(params: Any, cache: Cache, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As in ``ExLlamaV2Attention.forward_paged``, keyword for keyword."""
    return _attention()(
        q=q,
        k=k,
        v=v,
        k_cache=cache.k[layer],
        v_cache=cache.v[layer],
        cache_seqlens=params.cache_seqlens,
        block_table=params.block_index,
        causal=True,
        softmax_scale=q.shape[-1] ** -0.5,
    )


def _sequential(params: Any, cache: Cache, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One sequence whose new positions lie side by side: they are written first."""
    for rows, new in zip(cache.rows(), (k, v), strict=True):
        rows[layer, params.first_index : params.first_index + new.shape[1]] = new[0]
    return _attention()(
        q=q,
        k=None,
        v=None,
        k_cache=cache.k[layer],
        v_cache=cache.v[layer],
        cache_seqlens=params.cache_seqlens_after,
        block_table=params.block_index,
        causal=True,
        softmax_scale=q.shape[-1] ** -0.5,
    )


def _attention() -> Any:
    return sys.modules["exllamav2.attn"].flash_attn_with_kvcache  # type: ignore[attr-defined]


def _likeliest(logits: Tensor, *given: Any, **more: Any) -> tuple[Any, ...]:
    return logits.argmax(-1), None, None, None, False


@contextmanager
def on_a_cpu(folder: Path) -> Iterator[None]:
    """``ExLlama(settings, folder)`` then runs the real library around ``SmallLlama``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "exllamav2_ext", Extension("exllamav2_ext"))
        package, dynamic = import_module("exllamav2"), import_module("exllamav2.generator.dynamic")
        patch.setattr(Model, "folder", folder, raising=False)
        patch.setattr(package, "ExLlamaV2", Model)
        patch.setattr(package, "ExLlamaV2Cache", Cache)
        patch.setattr(dynamic.ExLlamaV2Sampler, "sample", staticmethod(_likeliest))
        # Moving pages to close gaps is the extension's work, and changes no result.
        patch.setattr(dynamic.ExLlamaV2DynamicGenerator, "defrag_cache", lambda self: None)
        patch.setattr(exllama_model, "require", lambda settings: None)
        patch.setattr(exllama_model, "operations_for", lambda device, dtype: REFERENCE)
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "exllamav2"]:
        del sys.modules[name]
