"""Which implementation of Whisper is taken where."""

from __future__ import annotations

import pytest

from engine.asr import load


@pytest.mark.parametrize(
    ("device", "compute_type", "expected"),
    [
        ("cpu", "auto", "torch"),
        ("cpu", "float32", "torch"),
        ("cpu", "int8", "ctranslate2"),
        ("cuda", "auto", "ctranslate2"),
    ],
)
def test_auto(device: str, compute_type: str, expected: str) -> None:
    assert load.pick(device, compute_type) == expected
