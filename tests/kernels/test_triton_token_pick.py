from __future__ import annotations

import pytest
import torch
from devices import DEVICE, HALF_TYPES, runs_triton
from pick_cases import LAYOUT, PLAIN, RULES, TIMES, Case, make_case

from kernels.token_pick import Picked, token_pick

pytestmark = runs_triton
fused = pytest.importorskip("kernels.triton.token_pick", exc_type=ImportError)


def assert_same(case: Case) -> Picked:
    """The kernel against the reference on the same (rounded) logits."""
    found, expected = fused.token_pick(*case), token_pick(*case)
    assert found.token.tolist() == expected.token.tolist()
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, *HALF_TYPES])
@pytest.mark.parametrize("time_boost", [-20.0, 0.0, 3.0])
def test_equals_the_reference(dtype: torch.dtype, time_boost: float) -> None:
    assert_same(make_case(list(RULES.values()), dtype=dtype, time_boost=time_boost, device=DEVICE))


def test_of_equals_the_lowest_is_picked() -> None:
    case = make_case([PLAIN], device=DEVICE)
    case.logits[0, [40_000, 300, 200]] = 50.0
    case.masks[0, [40_000, 300, 200]] = False
    assert assert_same(case).token.tolist() == [200]


def test_times_alone_and_text_alone() -> None:
    case = make_case([RULES["first time"], PLAIN], device=DEVICE)
    first, second = assert_same(case).token.tolist()
    assert TIMES <= first < TIMES + 51
    assert second < TIMES


def test_rows_may_be_a_slice() -> None:
    case = make_case([PLAIN] * 4, device=DEVICE)
    assert_same(Case(case.logits[::2], case.masks, case.rules[::2].contiguous(), LAYOUT))


def test_no_rows_is_no_work() -> None:
    assert fused.token_pick(*make_case([], device=DEVICE)).token.shape == (0,)
