"""Batches for the tests of paged attention, and the definition to test against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kernels.paged_attention import PAGE


@dataclass(frozen=True)
class Case:
    """``lengths`` are positions cached before the new ones."""

    q: Tensor
    k_cache: Tensor
    v_cache: Tensor
    k: Tensor
    v: Tensor
    lengths: list[int]
    pages: list[list[int]]
    scale: float | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """As exllamav2 passes them; the caches are copies, so that a case can be used again."""
        return {
            "q": self.q,
            "k": self.k,
            "v": self.v,
            "k_cache": self.k_cache.clone(),
            "v_cache": self.v_cache.clone(),
            "cache_seqlens": torch.tensor(self.lengths, dtype=torch.int32, device=self.q.device),
            "block_table": self._table(),
            "causal": True,
            "softmax_scale": self.scale,
        }

    def _table(self) -> Tensor:
        width = max(len(pages) for pages in self.pages)
        rows = [pages + [0] * (width - len(pages)) for pages in self.pages]
        return torch.tensor(rows, dtype=torch.int32, device=self.q.device)

    def already_in_place(self) -> Case:
        """The new keys and values lie in the cache, as exllamav2 does for one sequence."""
        k_cache, v_cache = appended(self)
        return replace(self, k_cache=k_cache, v_cache=v_cache)


def make_case(
    lengths: list[int],
    new: int = 1,
    *,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 64,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    scale: float | None = None,
    seed: int = 0,
) -> Case:
    """Random values; the sequences' pages are scattered, and other pages hold what would show."""
    generator = torch.Generator().manual_seed(seed)
    counts = [-(-(length + new) // PAGE) for length in lengths]
    order = (torch.randperm(sum(counts) + 2, generator=generator)).tolist()
    pages = [[order.pop() for _ in range(count)] for count in counts]
    cache_shape = (sum(counts) + 2, PAGE, kv_heads, head_dim)
    k_cache, v_cache = torch.full((2, *cache_shape), 1e4)
    for length, own in zip(lengths, pages, strict=True):
        for position in range(length):
            place = own[position // PAGE], position % PAGE
            k_cache[place] = torch.randn(kv_heads, head_dim, generator=generator)
            v_cache[place] = torch.randn(kv_heads, head_dim, generator=generator)
    q = torch.randn(len(lengths), new, heads, head_dim, generator=generator)
    k, v = torch.randn(2, len(lengths), new, kv_heads, head_dim, generator=generator)
    tensors = (x.to(device, dtype).contiguous() for x in (q, k_cache, v_cache, k, v))
    return Case(*tensors, lengths, pages, scale)


def appended(case: Case) -> tuple[Tensor, Tensor]:
    """The caches with the new keys and values in their places, one by one."""
    k_cache, v_cache = case.k_cache.clone(), case.v_cache.clone()
    for b, (length, pages) in enumerate(zip(case.lengths, case.pages, strict=True)):
        for t in range(case.k.shape[1]):
            place = pages[(length + t) // PAGE], (length + t) % PAGE
            k_cache[place], v_cache[place] = case.k[b, t], case.v[b, t]
    return k_cache, v_cache


def by_definition(case: Case) -> Tensor:
    """Causal attention written out, one query and head at a time, in float64."""
    k_cache, v_cache = (x.double().cpu() for x in appended(case))
    q, out = case.q.double().cpu(), torch.zeros_like(case.q, dtype=torch.float64, device="cpu")
    batch, new, heads, head_dim = q.shape
    group = heads // k_cache.shape[2]
    scale = head_dim**-0.5 if case.scale is None else case.scale
    for b in range(batch):
        keys, values = (x[case.pages[b]].flatten(0, 1) for x in (k_cache, v_cache))
        for t in range(new):
            seen = case.lengths[b] + t + 1
            for h in range(heads):
                score = keys[:seen, h // group] @ q[b, t, h] * scale
                out[b, t, h] = score.softmax(0) @ values[:seen, h // group]
    return out
