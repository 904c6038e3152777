"""Linear layers, packed for the processor where oneDNN can."""

from __future__ import annotations

import platform
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from engine.errors import ConfigError
from engine.processor import processor

_FEW_ROWS = 32

ComputeType = Literal["auto", "float32", "bfloat16", "float16"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def compute_dtype(compute_type: ComputeType, device: torch.device) -> torch.dtype:
    """The type of weights and activations: what is asked for, or the device's fastest.

    Raises ``ConfigError`` for a type that a CPU does not have: torch would emulate it, hundreds of
    times slower, or fail in the middle of a request.
    """
    if device.type != "cpu":
        return torch.float16 if compute_type == "auto" else _DTYPES[compute_type]
    native = processor().torch_types
    if compute_type == "auto":
        return _DTYPES[native[0]]
    if compute_type not in native:
        raise ConfigError(
            f"asr_compute_type {compute_type}: this processor has no {compute_type} instructions; "
            f"use auto, or one of {', '.join(native)}"
        )
    return _DTYPES[compute_type]


class Linear:
    """``x @ weight.T + bias``, then GELU where asked; x ``[..., in]`` in the layer's dtype.

    On a CPU the weight is kept in oneDNN's blocked layout, packed once: for one to eight rows
    this is two to three times as fast as ``functional.linear``, in float32 as in bfloat16.

    ``few_rows``: the layer is mostly given a row or two, so that reading its weights takes the
    time. In float32 on a CPU a second copy in float16, which FBGEMM widens as it multiplies, then
    serves up to ``_FEW_ROWS`` rows: a row takes 0.43 of the time. Weights that were float16 in the
    file, as Whisper's are, lose nothing.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        device: torch.device,
        *,
        gelu: bool = False,
        few_rows: bool = False,
    ) -> None:
        self.packed = device.type == "cpu" and _can_pack()
        self.gelu = gelu
        self.bias = None if bias is None else bias.to(device, dtype).contiguous()
        plain = weight.to(device, dtype).contiguous()
        self._half = None
        if few_rows and self.packed and dtype is torch.float32 and _has_fbgemm():
            self._half = torch.ops.quantized.linear_prepack_fp16(plain, self.bias)
        self.weight: Tensor = (
            torch.ops.mkldnn._reorder_linear_weight(plain, None) if self.packed else plain
        )

    def __call__(self, x: Tensor) -> Tensor:
        if self._half is not None and len(x) <= _FEW_ROWS:
            y: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._half)
            return functional.gelu(y) if self.gelu else y
        if self.packed:
            y = torch.ops.mkldnn._linear_pointwise(
                x, self.weight, self.bias, "gelu" if self.gelu else "none", [], "none"
            )
            return y
        y = functional.linear(x, self.weight, self.bias)
        return functional.gelu(y) if self.gelu else y


def _has_fbgemm() -> bool:
    return "fbgemm" in torch.backends.quantized.supported_engines


def _can_pack() -> bool:
    """oneDNN's blocked weights have been tried on x86-64 only."""
    return bool(torch._C._has_mkldnn) and platform.machine() in ("x86_64", "AMD64")


class LayerNorm:
    """Over the last dimension, in float32; gives the layer's dtype."""

    def __init__(
        self, gamma: Tensor, beta: Tensor, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._gamma = gamma.to(device, torch.float32).contiguous()
        self._beta = beta.to(device, torch.float32).contiguous()
        self._dtype = dtype

    def __call__(self, x: Tensor) -> Tensor:
        y = functional.layer_norm(x, self._gamma.shape, self._gamma, self._beta)
        return y if y.dtype is self._dtype else y.to(self._dtype)
