"""From settings to a speech model that can listen."""

from __future__ import annotations

import os

from engine.asr.ct2 import CTranslate2Whisper
from engine.config import EngineSettings
from engine.models import resolve


def load(settings: EngineSettings, device: str) -> CTranslate2Whisper:
    """Load what ``settings.asr_model`` names onto ``device``. Raises ``ModelError``."""
    return CTranslate2Whisper(
        resolve(settings.asr_model, "asr", settings.home),
        device=device,
        compute_type=settings.asr_compute_type,
        threads=settings.threads or len(os.sched_getaffinity(0)),
        batch_size=settings.asr_batch_size,
    )
