"""How busy the GPU was, as its driver tells."""

from __future__ import annotations

import statistics
import threading
from types import TracebackType
from typing import Self

import torch

_EVERY_S = 0.25


class GpuWatch:
    """A context; ``busy`` afterwards is the share of time in which a kernel ran.

    None without a GPU, and where the driver does not tell (``nvidia-ml-py`` reads it).
    """

    def __init__(self, device: str) -> None:
        self._samples: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._on = device == "cuda" and _tells()

    @property
    def busy(self) -> float | None:
        return round(statistics.mean(self._samples) / 100, 3) if self._samples else None

    def __enter__(self) -> Self:
        if self._on:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._on:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._samples.append(torch.cuda.utilization())


def _tells() -> bool:
    try:
        torch.cuda.utilization()
    except (ImportError, RuntimeError):
        return False
    return True
