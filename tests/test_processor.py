"""What the processor multiplies, how a setting limits it, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from engine import processor as module
from engine.errors import ConfigError
from engine.processor import Processor, processor, restrict
from engine.whisper import linear
from engine.whisper.linear import compute_dtype

CPU = torch.device("cpu")
X86 = torch.cpu._is_avx2_supported()
PROBE = """
import json
from engine.processor import processor, restrict_from_environment
restrict_from_environment()
import ctranslate2, torch
here = processor()
print(json.dumps([torch.backends.cpu.get_cpu_capability(), here.isa, here.bfloat16,
                  here.torch_types]))
"""


def probe(isa: str) -> list[object]:
    """What a new process finds under ``isa``."""
    environ = {**os.environ, "ANTIPHON_ISA": isa}
    out = subprocess.run(
        [sys.executable, "-c", PROBE], env=environ, capture_output=True, text=True, check=True
    )
    found: list[object] = json.loads(out.stdout)
    return found


@pytest.mark.skipif(not X86, reason="the instruction sets that can be limited are x86-64's")
@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_a_limited_processor_has_float32_only(isa: str) -> None:
    capability, told, bfloat16, types = probe(isa)
    if isa == "avx2" or torch.cpu._is_avx512_supported():
        assert capability == isa.upper()
    assert (told, bfloat16, types) == (isa, False, ["float32"])


def test_native_changes_nothing() -> None:
    environ = {"OTHER": "kept"}
    restrict("native", environ)
    assert environ == {"OTHER": "kept", "ANTIPHON_ISA": "native"}


def test_every_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_READERS", ())
    environ = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}
    restrict("avx2", environ)
    assert environ["ONEDNN_MAX_CPU_ISA"] == environ["MKL_ENABLE_INSTRUCTIONS"] == "AVX2"
    assert environ["ATEN_CPU_CAPABILITY"] == "avx2"
    assert environ["CT2_FORCE_CPU_ISA"] == "AVX2"


def test_too_late_is_refused() -> None:
    with pytest.raises(ConfigError, match="torch"):  # this process has loaded it
        restrict("avx2", {})


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"native, avx512, avx2, not 'sse'"):
        restrict("sse", {})


@pytest.mark.parametrize("missing", ["bfloat16", "float16"])
def test_a_type_that_would_be_emulated_is_refused(
    monkeypatch: pytest.MonkeyPatch, missing: linear.ComputeType
) -> None:
    poor = Processor("an old one", 2, "native", bfloat16=False, float16=False)
    monkeypatch.setattr(linear, "processor", lambda: poor)
    with pytest.raises(ConfigError, match=f"{missing}.*use auto, or one of float32"):
        compute_dtype(missing, CPU)
    assert compute_dtype("auto", CPU) is torch.float32


def test_it_says_which_form_is_taken_and_why() -> None:
    poor = Processor("Old One", 1, "avx2", bfloat16=False, float16=False)
    assert poor.describe() == (
        "Old One, 1 core, no native bfloat16, limited to avx2 by isa: Whisper in float32"
    )
    assert processor().describe().endswith(processor().torch_types[0])
