"""Both ways to run Whisper, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.asr.backend import AsrBackend
from engine.asr.ct2 import CTranslate2Whisper
from engine.whisper.backend import TorchWhisper


@pytest.fixture(scope="module", params=["ctranslate2", "torch"])
def backend(request: pytest.FixtureRequest, whisper_base: Path) -> Iterator[AsrBackend]:
    made: AsrBackend
    if request.param == "torch":
        made = TorchWhisper(whisper_base, compute_type="float32", threads=1, slots=8)
    else:
        made = CTranslate2Whisper(whisper_base, compute_type="float32", threads=1)
    yield made
    made.close()
