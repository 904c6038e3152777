"""Where the Triton kernels can run in this process: a GPU, or Triton's interpreter on the CPU."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda")

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs triton")
runs_triton = [
    needs_triton,
    pytest.mark.skipif(
        DEVICE.type != "cuda" and not INTERPRETED,
        reason="needs a CUDA device, or TRITON_INTERPRET=1 (test_interpreter.py sets it)",
    ),
]
HALF_TYPES = [torch.float16, torch.bfloat16]
# the interpreter multiplies bfloat16 matrices by their bits
DOT_TYPES = [torch.float32, torch.float16, *([] if INTERPRETED else [torch.bfloat16])]
TOLERANCE = {torch.float32: 2e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}
