"""Token choice over Whisper's vocabulary, with and without timestamps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.kernels.timing import Case
from kernels.dispatch import REFERENCE, operations_for
from kernels.token_pick import PickRule, TokenLayout

VOCAB = 51_866
LAYOUT = TokenLayout(end_of_text=50_257, timestamp_begin=50_365)


def cases(device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    ours = operations_for(device, dtype)
    masks = torch.zeros(2, VOCAB, dtype=torch.bool, device=device)
    masks[:, :VOCAB:500] = True
    begin = LAYOUT.timestamp_begin
    kinds = {"text": PickRule(0, 0, begin, begin), "times": PickRule(1, 0, begin, VOCAB)}
    for kind, rule in kinds.items():
        for rows in (1, 16, 256) if device.type == "cuda" else (1, 16):
            logits = torch.randn(rows, VOCAB, device=device).to(dtype)
            rules = torch.tensor([rule] * rows, dtype=torch.int32, device=device)
            forms = {
                "torch": partial(REFERENCE.token_pick, logits, masks, rules, LAYOUT),
                ours.name: partial(ours.token_pick, logits, masks, rules, LAYOUT),
            }
            yield Case("token_pick", f"{kind}, {rows} rows", forms)
