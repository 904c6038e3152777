"""From settings to a speech model that can listen."""

from __future__ import annotations

import os
from typing import Literal, cast, get_args

from engine.asr.backend import AsrBackend
from engine.asr.ct2 import CTranslate2Whisper
from engine.config import EngineSettings
from engine.errors import ConfigError
from engine.models import resolve
from engine.whisper.backend import TorchWhisper
from engine.whisper.linear import ComputeType


def load(settings: EngineSettings, device: str) -> AsrBackend:
    """Load what ``settings.asr_model`` names onto ``device``. Raises ``ModelError``."""
    folder = resolve(settings.asr_model, "asr", settings.home)
    threads = settings.threads or len(os.sched_getaffinity(0))
    kind = settings.asr
    if kind == "auto":
        kind = pick(device, settings.asr_compute_type)
    if kind == "torch":
        return TorchWhisper(
            folder,
            device=device,
            compute_type=_torch_type(settings.asr_compute_type),
            threads=threads,
            slots=settings.asr_batch_size,
        )
    return CTranslate2Whisper(
        folder,
        device=device,
        compute_type=settings.asr_compute_type,
        threads=threads,
        batch_size=settings.asr_batch_size,
    )


def pick(device: str, compute_type: str) -> Literal["torch", "ctranslate2"]:
    """Torch on every CPU, for its drafts and its scheduling.

    On CUDA it is CTranslate2 until torch's form has been measured there; and wherever a number
    type is asked for that only CTranslate2 has.
    """
    if device == "cpu" and compute_type in get_args(ComputeType):
        return "torch"
    return "ctranslate2"


def _torch_type(name: str) -> ComputeType:
    known = get_args(ComputeType)
    if name not in known:
        raise ConfigError(f"asr_compute_type {name!r}: with asr torch it is one of {known}")
    return cast(ComputeType, name)
