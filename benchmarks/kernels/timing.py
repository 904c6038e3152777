"""How the kernels' benchmarks measure, and what they note about the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import torch
from torch.utils.benchmark import Timer

from engine.processor import processor

Form = Callable[[], object]


class Case(NamedTuple):
    """One input of one operation, and the forms of the operation that take it."""

    operation: str
    case: str
    forms: dict[str, Form]


def median_us(form: Form, min_run_s: float) -> float:
    """Median time of a call in microseconds; torch's timer waits for the device's queue."""
    form()  # the first call compiles
    timer = Timer("form()", globals={"form": form}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=min_run_s).median * 1e6


def device_name(device: torch.device) -> str:
    """The device's own name, with its cores where it is a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor().name}, {os.cpu_count()} cores"


def environment(device: torch.device) -> dict[str, str | int]:
    """What a result must be read with."""
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "none"
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "triton": triton,
        "python": platform.python_version(),
        "torch_threads": torch.get_num_threads(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
