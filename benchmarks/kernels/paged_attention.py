"""Paged attention: decoding steps of many replies, and pieces of a prompt; flash-attn's beside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from benchmarks.kernels.timing import Case, Form
from kernels.dispatch import REFERENCE, operations_for
from kernels.paged_attention import PAGE

# query heads, key-value heads, head size
MODELS = {"SmolLM2-135M": (9, 3, 64), "Llama-3.1-8B": (32, 8, 128)}


def _inputs(
    model: str, batch: int, length: int, new: int, device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """``batch`` sequences with ``length`` positions cached, their pages scattered."""
    heads, kv_heads, head_dim = MODELS[model]
    count = -(-(length + new) // PAGE)
    k_cache, v_cache = torch.randn(
        2, batch * count, PAGE, kv_heads, head_dim, device=device, dtype=dtype
    )
    table = torch.randperm(batch * count, device=device).view(batch, count).int()
    k, v = torch.randn(2, batch, new, kv_heads, head_dim, device=device, dtype=dtype)
    return {
        "q": torch.randn(batch, new, heads, head_dim, device=device, dtype=dtype),
        "k_cache": k_cache,
        "v_cache": v_cache,
        "k": k,
        "v": v,
        "cache_seqlens": torch.full((batch,), length, dtype=torch.int32, device=device),
        "block_table": table,
        "causal": True,
    }


def _flash(inputs: dict[str, Any]) -> dict[str, Form]:
    if find_spec("flash_attn") is None:
        return {}
    from flash_attn import flash_attn_with_kvcache

    return {"flash-attn": partial(flash_attn_with_kvcache, **inputs)}


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    on_gpu = device.type == "cuda"
    ours = operations_for(device, dtype)
    batches = (1, 8, 64) if on_gpu else (1, 4)
    for model in MODELS if on_gpu else ("SmolLM2-135M",):
        for length in (500, 2000) if on_gpu else (500,):
            shapes = [(batch, 1) for batch in batches] + [(1, 512 if on_gpu else 128)]
            for batch, new in shapes:
                inputs = _inputs(model, batch, length, new, device, dtype)
                forms: dict[str, Form] = {
                    "torch": partial(REFERENCE.paged_attention, **inputs),
                    ours.name: partial(ours.paged_attention, **inputs),
                    **_flash(inputs),
                }
                name = f"{model}, {batch} of {new} new after {length}"
                yield Case("paged_attention", name, forms)
