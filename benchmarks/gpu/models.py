"""Whisper models of random weights, loaded as the engine loads them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.random_model import write_folder
from benchmarks.gpu.shapes import SHAPES
from benchmarks.gpu.variants import Variant, graphs_switch
from benchmarks.least_work import TOKENS_PER_S
from engine.asr.backend import AsrJob
from engine.whisper.backend import TorchWhisper
from engine.whisper.model import WhisperModel
from engine.whisper.row import RowRequest

CONTEXT_S = 15
"""What an utterance of up to 11 s is given, so what nearly every final has."""


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    """A folder with a model of that name's sizes; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    try:
        yield write_folder(SHAPES[name], folder)
    finally:
        shutil.rmtree(folder)


def load_model(folder: Path, bench: Bench, variant: Variant, slots: int) -> WhisperModel:
    """Inside ``forms_of(variant)``."""
    switch = graphs_switch(WhisperModel, variant)
    return WhisperModel(folder, bench.device, bench.compute_type, slots, **switch)


def load_backend(folder: Path, bench: Bench, variant: Variant, slots: int) -> ForcedWhisper:
    """Inside ``forms_of(variant)``."""
    switch = graphs_switch(TorchWhisper, variant)
    return ForcedWhisper(folder, bench.device, bench.compute_type, slots=slots, **switch)


def forced_tokens(seconds: float) -> int:
    """Tokens of a text for so much English speech, its end counted: it takes a pass as well."""
    return max(1, round(TOKENS_PER_S * seconds)) + 1


class ForcedWhisper(TorchWhisper):
    """The engine's backend, which says as many tokens as people would in the same time.

    The token that stands for the end is no part of the next hypothesis, so not of its draft.
    """

    def _request(self, job: AsrJob) -> RowRequest:
        request = super()._request(job)
        length = forced_tokens(job.seconds)
        return replace(request, max_tokens=length, draft=request.draft[:-1])
