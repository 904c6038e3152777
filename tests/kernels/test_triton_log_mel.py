from __future__ import annotations

import pytest
import torch
from devices import DEVICE, runs_triton
from ring_cases import make_case

from kernels.log_mel import ragged_log_mel

pytestmark = runs_triton
fused = pytest.importorskip("kernels.triton.log_mel", exc_type=ImportError)


@pytest.mark.parametrize("bins", [80, 128])
def test_equals_the_reference(bins: int) -> None:
    case = make_case(DEVICE)
    found, expected = fused.ragged_log_mel(*case, bins), ragged_log_mel(*case, bins)
    assert found.shape == (len(case.frame_slot), bins)
    # the quietest bins, 80 dB and more below the loudest, are rounding noise in both
    audible = expected > expected.amax(dim=1, keepdim=True) - 6.0
    torch.testing.assert_close(found[audible], expected[audible], atol=2e-4, rtol=0)
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)


def test_no_frames_is_no_work() -> None:
    case = make_case(DEVICE)
    none = case.frame_slot[:0]
    assert fused.ragged_log_mel(*case[:3], none, none, 80).shape == (0, 80)
