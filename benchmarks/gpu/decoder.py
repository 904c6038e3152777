"""Steps of the decoder over many rows at once, each over 15 s of speech that it has heard.

A step is the engine's own: rows packed, one pass, tokens picked, the host told.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.bench import Bench, Record, Row, timed_ms, wait_for
from benchmarks.gpu.models import CONTEXT_S, folder_of, load_model
from benchmarks.gpu.variants import Variant, engine_has_graphs, forms_of, variants_on
from engine.whisper.continuous import ContinuousDecoder
from engine.whisper.model import WhisperModel
from engine.whisper.row import RowRequest, RowResult

POSITIONS_PER_S = 50
DRAFT_TOKENS = 20
"""Of five seconds of speech."""
_WARM = 3


@torch.inference_mode()
def measure(bench: Bench, record: Record) -> None:
    """Rows: ``model``, ``variant``, ``batch``; milliseconds of a step that feeds a token a row
    (``step_ms``, ``tokens_per_s``), of one that feeds the four tokens of an opening
    (``opening_ms``), and of one that verifies a draft of 20 (``draft_ms``).
    """
    record.fact("heard_s", CONTEXT_S)
    record.fact("draft_tokens", DRAFT_TOKENS)
    with ExitStack() as stack:
        folders = {name: stack.enter_context(folder_of(name)) for name in bench.models}
        # torch's first: whatever fails in the others, there is something to compare with
        for variant in variants_on(bench.device):
            if variant.graphs and not engine_has_graphs():
                record.fact("graphs", "this engine has none")
                continue
            for name, folder in folders.items():
                with forms_of(variant):
                    model = load_model(folder, bench, variant, max(bench.batches))
                    _batches(model, name, variant, bench, record)


def _batches(
    model: WhisperModel, name: str, variant: Variant, bench: Bench, record: Record
) -> None:
    for batch in bench.batches:
        row = {"model": name, "variant": variant.name, "batch": batch}
        if not record.attempt(row, partial(steps, model, batch, bench)):
            return


@dataclass(slots=True)
class Rows:
    """``batch`` rows of one decoder, all fed the same."""

    decoder: ContinuousDecoder
    heard: Tensor
    device: str

    def join(self, batch: int, request: RowRequest) -> None:
        for _ in range(batch):
            self.decoder.join(request, self.heard)

    def step_ms(self) -> tuple[float, list[RowResult]]:
        """How long a step took, and the rows that ended in it."""
        ended: list[RowResult] = []
        took_ms = timed_ms(
            self.device, lambda: ended.extend(result for _, result in self.decoder.step())
        )
        return took_ms, ended


def steps(model: WhisperModel, batch: int, bench: Bench) -> Row:
    """One batch from its opening to its end, and again with what it said as its draft."""
    shape = (CONTEXT_S * POSITIONS_PER_S, model.spec.width)
    heard = torch.randn(shape, device=model.device).to(model.dtype)
    wait_for(bench.device)  # the decoder may read it in a stream of its own
    rows = Rows(model.continuous(), heard, bench.device)
    count = DRAFT_TOKENS + 1 if bench.quick else 48
    request = RowRequest(max_tokens=count + 1, language="en")
    rows.join(batch, request)
    openings_ms = [rows.step_ms()[0]]
    times_ms, ended = [], list[RowResult]()
    for _ in range(count):
        took_ms, ended = rows.step_ms()
        times_ms.append(took_ms)
    _hold_lengths(ended, batch, count + 1)
    drafts_ms = []
    draft = RowRequest(DRAFT_TOKENS + 1, "en", draft=ended[0].tokens[:DRAFT_TOKENS])
    for _ in range(2 if bench.quick else 5):
        rows.join(batch, RowRequest(max_tokens=1, language="en"))
        openings_ms.append(rows.step_ms()[0])
        rows.join(batch, draft)
        took_ms, ended = rows.step_ms()
        drafts_ms.append(took_ms)
        _hold_lengths(ended, batch, DRAFT_TOKENS + 1)  # in one pass: all of the draft was kept
    step_ms = statistics.median(times_ms[_WARM:])
    return {
        "step_ms": round(step_ms, 3),
        "tokens_per_s": round(batch / step_ms * 1e3),
        "opening_ms": round(statistics.median(openings_ms[1:]), 3),
        "draft_ms": round(statistics.median(drafts_ms[1:]), 3),
        "tokens_each": count + 1,
    }


def _hold_lengths(ended: list[RowResult], batch: int, tokens: int) -> None:
    """What was timed is what was meant: every row at work in each step, and none longer."""
    lengths = [len(result.tokens) for result in ended]
    if lengths != [tokens] * batch:
        raise RuntimeError(f"{batch} rows of {tokens} tokens should have ended, not {lengths}")
