"""One 32 ms step of VAD for many slots: the network alone, and as the engine calls it."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from benchmarks.gpu.bench import Bench, Record, Row
from benchmarks.kernels.timing import Case, median_us
from benchmarks.kernels.vad_step import cases
from engine.errors import ModelError
from engine.vad.silero import SileroVad, find_weights
from kernels.silero import FRAME_SAMPLES

STEP_MS = 32.0


@torch.inference_mode()
def measure(bench: Bench, record: Record) -> None:
    """Rows: ``slots``, and milliseconds a step by form (``ms``).

    ``engine`` is the engine's step with audio from the host and probabilities back to it.
    """
    try:
        find_weights()
    except ModelError as error:
        record.fact("engine", f"not measured: {error}")
    for case in cases(torch.device(bench.device), torch.float32):
        slots = int(case.case.split()[0])
        record.attempt({"slots": slots}, partial(_forms, case, slots, bench, record))
        if bench.quick:
            return


def _forms(case: Case, slots: int, bench: Bench, record: Record) -> Row:
    forms = dict(case.forms)
    if "engine" not in record.facts:
        vad = SileroVad(slots, bench.device)
        frames = np.random.default_rng(0).normal(0, 0.1, (slots, FRAME_SAMPLES))
        forms["engine"] = partial(vad.step, frames.astype(np.float32), np.arange(slots))
    return {
        "ms": {name: round(median_us(form, bench.seconds) / 1e3, 4) for name, form in forms.items()}
    }
