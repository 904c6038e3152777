"""Which form of each operation runs, chosen once by device and dtype.

A CPU runs the torch references. A CUDA device runs the Triton forms where triton is installed
and the dtype is one they are written for, and otherwise the references too.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

import torch

from kernels import log_mel, paged_attention, slot_attention, token_pick
from kernels.log_mel import RaggedLogMel
from kernels.paged_attention import PagedAttention
from kernels.slot_attention import SlotAttention
from kernels.token_pick import TokenPick

TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class Operations(NamedTuple):
    """One form of each operation; ``name`` says which (``torch`` or ``triton``)."""

    name: str
    ragged_log_mel: RaggedLogMel
    slot_attention: SlotAttention
    token_pick: TokenPick
    paged_attention: PagedAttention


REFERENCE = Operations(
    "torch",
    log_mel.ragged_log_mel,
    slot_attention.slot_attention,
    token_pick.token_pick,
    paged_attention.paged_attention,
)


def operations_for(device: torch.device, dtype: torch.dtype, *, fused: bool = True) -> Operations:
    """The operations for tensors of a device and dtype; ``fused=False`` asks for torch's own."""
    if not fused or device.type != "cuda" or dtype not in TRITON_DTYPES:
        return REFERENCE
    if find_spec("triton") is None:
        return REFERENCE
    return _triton_operations()


def _triton_operations() -> Operations:
    from kernels.triton import log_mel as fused_log_mel
    from kernels.triton import paged_attention as fused_paged_attention
    from kernels.triton import slot_attention as fused_attention
    from kernels.triton import token_pick as fused_pick

    return Operations(
        "triton",
        fused_log_mel.ragged_log_mel,
        fused_attention.slot_attention,
        fused_pick.token_pick,
        fused_paged_attention.paged_attention,
    )
