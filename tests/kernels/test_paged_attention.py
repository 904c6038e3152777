from __future__ import annotations

import pytest
import torch
from devices import TOLERANCE
from hypothesis import given, settings
from hypothesis import strategies as st
from paged_cases import appended, by_definition, make_case

from kernels.paged_attention import paged_attention


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(0, 300), min_size=1, max_size=3),
    new=st.integers(1, 6),
    group=st.sampled_from([1, 3]),
    seed=st.integers(0, 100),
)
def test_equals_the_definition(lengths: list[int], new: int, group: int, seed: int) -> None:
    case = make_case(lengths, new, heads=2 * group, kv_heads=2, head_dim=16, seed=seed)
    arguments = case.arguments
    found = paged_attention(**arguments)
    torch.testing.assert_close(found.double(), by_definition(case), atol=2e-5, rtol=0)
    for name, cache in zip(("k_cache", "v_cache"), appended(case), strict=True):
        assert torch.equal(arguments[name], cache), f"{name} is not what it should be"


def test_a_sequence_whose_keys_are_there_already() -> None:
    """``k`` and ``v`` are None, and ``cache_seqlens`` counts the new positions."""
    case = make_case([250], 10)
    arguments = case.already_in_place().arguments
    arguments |= {"k": None, "v": None, "cache_seqlens": arguments["cache_seqlens"] + 10}
    before = arguments["k_cache"].clone()
    torch.testing.assert_close(paged_attention(**arguments), paged_attention(**case.arguments))
    assert torch.equal(arguments["k_cache"], before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_dtypes(dtype: torch.dtype) -> None:
    case = make_case([255, 256, 3], 2, dtype=dtype)
    found = paged_attention(**case.arguments)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), by_definition(case), atol=TOLERANCE[dtype], rtol=0)


def test_a_scale_of_the_models_own() -> None:
    case = make_case([40], 3, scale=0.5)
    torch.testing.assert_close(
        paged_attention(**case.arguments).double(), by_definition(case), atol=2e-5, rtol=0
    )
