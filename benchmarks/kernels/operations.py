"""The operations that are measured, each with its cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.kernels import log_mel, paged_attention, slot_attention, token_pick, vad_step
from benchmarks.kernels.timing import Case

Cases = Callable[[torch.device, torch.dtype], Iterator[Case]]

OPERATIONS: dict[str, Cases] = {
    "log_mel": log_mel.cases,
    "paged_attention": paged_attention.cases,
    "slot_attention": slot_attention.cases,
    "token_pick": token_pick.cases,
    "vad_step": vad_step.cases,
}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
