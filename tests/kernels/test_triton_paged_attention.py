from __future__ import annotations

import pytest
import torch
from devices import DEVICE, DOT_TYPES, TOLERANCE, runs_triton
from paged_cases import Case, appended, by_definition, make_case

pytestmark = runs_triton
fused = pytest.importorskip("kernels.triton.paged_attention", exc_type=ImportError)

STEP = ([5, 255, 256, 700], 1)  # one token for each of a batch, over the edges of pages
PROMPT = ([250], 40)
PROMPT_FROM_NOTHING = ([0], 70)


def check(case: Case, dtype: torch.dtype = torch.float32) -> None:
    arguments = case.arguments
    found = fused.paged_attention(**arguments)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.double().cpu(), by_definition(case), atol=TOLERANCE[dtype], rtol=0
    )
    for name, cache in zip(("k_cache", "v_cache"), appended(case), strict=True):
        assert torch.equal(arguments[name], cache), f"{name} is not what it should be"


@pytest.mark.parametrize("dtype", DOT_TYPES)
@pytest.mark.parametrize("batch", [STEP, PROMPT, PROMPT_FROM_NOTHING])
def test_equals_the_definition(batch: tuple[list[int], int], dtype: torch.dtype) -> None:
    check(make_case(*batch, dtype=dtype, device=DEVICE), dtype)


@pytest.mark.parametrize("head_dim", [64, 80, 96, 128, 256])
def test_head_sizes(head_dim: int) -> None:
    check(make_case([130, 20], 2, heads=2, kv_heads=1, head_dim=head_dim, device=DEVICE))


@pytest.mark.parametrize(("heads", "kv_heads"), [(3, 3), (8, 1), (9, 3), (14, 2)])
@pytest.mark.parametrize("new", [1, 9])
def test_groups_of_query_heads(heads: int, kv_heads: int, new: int) -> None:
    check(make_case([70, 3], new, heads=heads, kv_heads=kv_heads, device=DEVICE))


@pytest.mark.parametrize("splits", [1, 2, 8, 32])
@pytest.mark.parametrize("new", [1, 20])
def test_any_number_of_splits_gives_the_same(
    splits: int, new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "choose_splits", lambda *_: splits)
    check(make_case([600, 4], new, head_dim=80, device=DEVICE))


def test_a_sequence_whose_keys_are_there_already() -> None:
    case = make_case([250], 10, device=DEVICE)
    arguments = case.already_in_place().arguments
    arguments |= {"k": None, "v": None, "cache_seqlens": arguments["cache_seqlens"] + 10}
    torch.testing.assert_close(
        fused.paged_attention(**arguments).double().cpu(), by_definition(case), atol=2e-5, rtol=0
    )


def test_a_scale_of_the_models_own() -> None:
    check(make_case([40], 3, scale=0.5, device=DEVICE))


def test_no_sequences_is_no_work() -> None:
    case = make_case([9], device=DEVICE)
    arguments = case.arguments | {"q": case.q[:0]}
    assert fused.paged_attention(**arguments).shape == (0, 1, 4, 64)
