from __future__ import annotations

import pytest
import torch
from attention_cases import by_definition, make_case
from devices import TOLERANCE
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.slot_attention import TILE_ROWS, row_tiles, slot_attention

runs = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 70), min_size=1, max_size=20)),
    max_size=5,
)


def unpack(batch: list[tuple[int, list[int]]]) -> tuple[list[int], list[int]]:
    row_slot = [slot for slot, lengths in batch for _ in lengths]
    return row_slot, [length for _, lengths in batch for length in lengths]


@settings(deadline=None, max_examples=40)
@given(batch=runs, seed=st.integers(0, 100))
def test_equals_the_definition(batch: list[tuple[int, list[int]]], seed: int) -> None:
    case = make_case(*unpack(batch), max_len=80, head_dim=16, seed=seed)
    torch.testing.assert_close(
        slot_attention(*case).double(), by_definition(case), atol=2e-5, rtol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes(dtype: torch.dtype) -> None:
    case = make_case([0, 0, 0, 2], [5, 6, 7, 300], dtype=dtype)
    found = slot_attention(*case)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), by_definition(case), atol=TOLERANCE[dtype], rtol=0)


def test_queries_may_be_a_slice_of_a_fused_projection() -> None:
    case = make_case([0, 1], [9, 12])
    fused = torch.randn(2, 3, 2, 64)
    fused[:, 0] = case.q
    sliced = slot_attention(fused[:, 0], *case[1:])
    torch.testing.assert_close(sliced, slot_attention(*case))
    assert sliced.is_contiguous()


@given(row_slot=st.lists(st.integers(0, 2), max_size=100))
def test_tiles_cover_each_row_once_and_hold_one_slot(row_slot: list[int]) -> None:
    covered = []
    for first, count in row_tiles(row_slot).tolist():
        assert 1 <= count <= TILE_ROWS
        assert len(set(row_slot[first : first + count])) == 1
        covered += range(first, first + count)
    assert covered == list(range(len(row_slot)))


def test_tiles_of_one_slot_are_as_few_as_can_be() -> None:
    assert row_tiles([7] * 20 + [1] * 3).tolist() == [[0, 16], [16, 4], [20, 3]]
