"""Runs the kernels' own tests on the CPU, in a process of their own.

``TRITON_INTERPRET`` is read when a kernel is defined, so it cannot be set for a single test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from devices import needs_triton

HERE = Path(__file__).parent
MODULES = sorted(path.name for path in HERE.glob("test_triton_*.py"))


@needs_triton
@pytest.mark.parametrize("module", MODULES)
def test_kernels_under_the_interpreter(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(HERE / module)],
        cwd=HERE.parents[1],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
