"""Layers from named weights, on one device and in one dtype."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import ModelError
from engine.whisper.linear import LayerNorm, Linear
from engine.whisper.weights import Weights


@dataclass(frozen=True, slots=True)
class Builder:
    """Makes layers; a weight that is missing or quantised raises ``ModelError``."""

    weights: Weights
    dtype: torch.dtype
    device: torch.device

    def tensor(self, name: str) -> Tensor:
        """``name`` in float32 (float16 weights are exact in it), on the CPU."""
        found = self.weights.get(name)
        if found is None:
            raise ModelError(f"the model has no weight {name}")
        if not found.is_floating_point():
            raise ModelError(f"{name} is quantised: convert the model without quantisation")
        return found.float()

    def linear(self, name: str, *, gelu: bool = False, few_rows: bool = False) -> Linear:
        weight, bias = self.tensor(f"{name}/weight"), self.tensor(f"{name}/bias")
        return Linear(weight, bias, self.dtype, self.device, gelu=gelu, few_rows=few_rows)

    def query(self, name: str, rows: int) -> Linear:
        """A projection whose first ``rows`` outputs are queries of heads 64 wide, pre-scaled.

        The scale ``64 ** -0.5`` is a power of two, so that folding it in changes no bit.
        """
        weight, bias = self.tensor(f"{name}/weight"), self.tensor(f"{name}/bias")
        scale = torch.ones(len(bias))
        scale[:rows] = HEAD_DIM**-0.5
        return Linear(weight * scale[:, None], bias * scale, self.dtype, self.device)

    def norm(self, name: str) -> LayerNorm:
        gamma, beta = self.tensor(f"{name}/gamma"), self.tensor(f"{name}/beta")
        return LayerNorm(gamma, beta, self.dtype, self.device)

    def convolution(self, name: str) -> Linear:
        """A convolution of width 3 as a linear layer over ``[..., 3 * in]``, then GELU."""
        weight = self.tensor(f"{name}/weight")
        flat = weight.permute(0, 2, 1).reshape(len(weight), -1)
        bias = self.tensor(f"{name}/bias")
        return Linear(flat, bias, self.dtype, self.device, gelu=True)


HEAD_DIM = 64
"""Width of a head in every Whisper model."""
