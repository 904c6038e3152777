from __future__ import annotations

import pytest
import torch
from attention_cases import by_definition, make_case
from devices import DEVICE, DOT_TYPES, HALF_TYPES, TOLERANCE, runs_triton

from kernels.slot_attention import row_tiles

pytestmark = runs_triton
fused = pytest.importorskip("kernels.triton.slot_attention", exc_type=ImportError)

ONE_ROW_EACH = ([3, 0, 1, 5], [1, 64, 65, 447])
DRAFTS = ([2] * 20 + [0] + [4] * 3, [*range(100, 120), 33, 7, 8, 9])
WITH_PADDING_ROWS = ([1, 1, 0, 0], [12, 13, 0, 0])
BATCHES = [ONE_ROW_EACH, DRAFTS, WITH_PADDING_ROWS]


@pytest.mark.parametrize(
    ("tiled", "dtype"),
    [(False, dtype) for dtype in (torch.float32, *HALF_TYPES)] + [(True, d) for d in DOT_TYPES],
)
@pytest.mark.parametrize("batch", BATCHES)
def test_equals_the_definition(
    batch: tuple[list[int], list[int]], tiled: bool, dtype: torch.dtype
) -> None:
    case = make_case(*batch, dtype=dtype, device=DEVICE)
    tiles = row_tiles(batch[0]).to(DEVICE) if tiled else None
    found = fused.slot_attention(*case, tiles)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.double().cpu(), by_definition(case), atol=TOLERANCE[dtype], rtol=0
    )


@pytest.mark.parametrize("splits", [1, 2, 8, 32])
@pytest.mark.parametrize("tiled", [False, True])
def test_any_number_of_splits_gives_the_same(
    splits: int, tiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "choose_splits", lambda *_: splits)
    batch = ([2, 2, 2, 0], [300, 301, 302, 5])
    case = make_case(*batch, heads=1, device=DEVICE)
    tiles = row_tiles(batch[0]).to(DEVICE) if tiled else None
    found = fused.slot_attention(*case, tiles)
    torch.testing.assert_close(found.double().cpu(), by_definition(case), atol=2e-5, rtol=0)


@pytest.mark.parametrize("head_dim", [16, 64, 128])
def test_head_sizes(head_dim: int) -> None:
    case = make_case([0, 1, 1], [30, 99, 100], head_dim=head_dim, heads=3, device=DEVICE)
    for tiles in (None, row_tiles([0, 1, 1]).to(DEVICE)):
        found = fused.slot_attention(*case, tiles)
        torch.testing.assert_close(found.double().cpu(), by_definition(case), atol=2e-5, rtol=0)


def test_queries_may_be_a_slice_of_a_fused_projection() -> None:
    case = make_case([0, 1], [9, 12], device=DEVICE)
    projected = torch.randn(2, 3, 2, 64, device=DEVICE)
    projected[:, 0] = case.q
    sliced = fused.slot_attention(projected[:, 0], *case[1:])
    torch.testing.assert_close(sliced, fused.slot_attention(*case))


def test_empty_tiles_pad_a_table() -> None:
    case = make_case(*DRAFTS, device=DEVICE)
    table = row_tiles(DRAFTS[0])
    padded = torch.cat((table, torch.zeros(3, 2, dtype=torch.int32)))
    expected = fused.slot_attention(*case, table.to(DEVICE))
    torch.testing.assert_close(fused.slot_attention(*case, padded.to(DEVICE)), expected)


def test_no_rows_is_no_work() -> None:
    case = make_case([], [], device=DEVICE)
    assert fused.slot_attention(*case).shape == (0, 2, 64)


def test_splits_fill_the_device_and_no_more() -> None:
    assert fused.choose_splits(programs=8, max_len=1500, processors=132) == 8
    assert fused.choose_splits(programs=5120, max_len=1500, processors=132) == 1
    assert fused.choose_splits(programs=1, max_len=100_000, processors=132) == fused.MAX_SPLITS
    assert fused.choose_splits(programs=1, max_len=100, processors=132) == 1
