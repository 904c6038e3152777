"""Each operation of ``kernels/`` in all of its forms, the torch form among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import torch

from benchmarks.gpu.bench import Bench, Record, Row, said
from benchmarks.kernels.operations import OPERATIONS
from benchmarks.kernels.timing import Case, Form, median_us
from benchmarks.kernels.vad_step import cases as vad_cases

_DTYPES = {"cuda": torch.float16, "cpu": torch.float32}


@torch.inference_mode()
def measure(bench: Bench, record: Record) -> None:
    """Rows: ``operation``, ``case``, and microseconds a call by form (``us``)."""
    for name, cases in OPERATIONS.items():
        if cases is vad_cases:
            continue  # a part of its own
        _operation(name, partial(cases, torch.device(bench.device)), bench, record)


def _operation(
    name: str, cases: Callable[[torch.dtype], Iterator[Case]], bench: Bench, record: Record
) -> None:
    """A form that fails leaves an error; inputs that cannot be made end the operation."""
    made = cases(_DTYPES[bench.device])
    try:
        for case in islice(made, 1) if bench.quick else made:
            record.attempt({"operation": name, "case": case.case}, partial(_forms, case, bench))
    except torch.OutOfMemoryError as error:
        record.add({"operation": name, "case": "the next", "error": said(error)})


def _forms(case: Case, bench: Bench) -> Row:
    times_us, errors = {}, {}
    for form, call in case.forms.items():
        try:
            times_us[form] = _median_us(call, bench)
        except (RuntimeError, TypeError, ValueError) as error:
            if "CUDA error" in str(error):
                raise
            errors[form] = said(error)
    return {"us": times_us} | ({"errors": errors} if errors else {})


def _median_us(call: Form, bench: Bench) -> float:
    return round(median_us(call, bench.seconds), 1)
