from __future__ import annotations

import inspect

import pytest
import torch
from devices import needs_triton

from kernels import dispatch
from kernels.dispatch import REFERENCE, operations_for

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cpu_runs_the_references(dtype: torch.dtype) -> None:
    assert operations_for(CPU, dtype) is REFERENCE


@needs_triton
@pytest.mark.parametrize("dtype", dispatch.TRITON_DTYPES)
def test_a_gpu_runs_triton(dtype: torch.dtype) -> None:
    assert operations_for(CUDA, dtype).name == "triton"


def test_a_gpu_runs_the_references_where_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    assert operations_for(CUDA, torch.float64) is REFERENCE
    assert operations_for(CUDA, torch.float16, fused=False) is REFERENCE
    monkeypatch.setattr(dispatch, "find_spec", lambda _: None)
    assert operations_for(CUDA, torch.float16) is REFERENCE


@needs_triton
@pytest.mark.parametrize("operation", REFERENCE._fields[1:])
def test_both_forms_are_called_alike(operation: str) -> None:
    forms = (REFERENCE, operations_for(CUDA, torch.float16))
    first, second = (inspect.signature(getattr(form, operation)) for form in forms)
    assert first == second
