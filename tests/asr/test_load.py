"""Which implementation of Whisper is taken where."""

from __future__ import annotations

import pytest

from engine.asr import load


@pytest.mark.parametrize(
    ("native", "device", "compute_type", "expected"),
    [
        (True, "cpu", "auto", "torch"),
        (True, "cpu", "float32", "torch"),
        (True, "cpu", "int8", "ctranslate2"),
        (False, "cpu", "auto", "ctranslate2"),
        (True, "cuda", "auto", "ctranslate2"),
    ],
)
def test_auto(
    monkeypatch: pytest.MonkeyPatch, native: bool, device: str, compute_type: str, expected: str
) -> None:
    monkeypatch.setattr(load, "has_native_bfloat16", lambda: native)
    assert load.pick(device, compute_type) == expected
