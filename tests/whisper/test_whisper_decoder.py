"""The encoder and decoder against CTranslate2 and against themselves."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch
from processors import needs_bfloat16
from torch import Tensor
from torch.nn import functional
from whisper_cases import encode

from engine.errors import ModelError
from engine.types import Pcm
from engine.whisper.attention import DenseAttention, KernelAttention
from engine.whisper.build import Builder
from engine.whisper.cache import SlotCaches
from engine.whisper.encoder import Attention, Encoder
from engine.whisper.features import features, hear
from engine.whisper.linear import Linear, compute_dtype
from engine.whisper.model import WhisperModel
from engine.whisper.packed import RowTable, Span, pack
from engine.whisper.weights import read_model_bin
from kernels.slot_attention import row_tiles, slot_attention

CPU = torch.device("cpu")


@pytest.mark.models
@pytest.mark.parametrize("frames", [300, 1000])
def test_the_encoder_equals_ctranslate2(
    tiny: WhisperModel, whisper_tiny: Path, english: dict[str, Pcm], frames: int
) -> None:
    oracle = ctranslate2.models.Whisper(str(whisper_tiny), compute_type="float32")
    mel = features(hear(english["en/counting"], 80), frames)
    batch = np.ascontiguousarray(mel.T[None].numpy())
    theirs = np.array(oracle.encode(ctranslate2.StorageView.from_array(batch)))
    with torch.inference_mode():
        ours = tiny.encoder(mel[None])
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-3, atol=2e-3)


@pytest.mark.models
def test_a_batch_is_encoded_like_each_alone(tiny: WhisperModel, english: dict[str, Pcm]) -> None:
    mel = torch.stack([features(hear(pcm, 80), 600) for pcm in english.values()])
    with torch.inference_mode():
        together = tiny.encoder(mel)
        alone = torch.cat([tiny.encoder(one[None]) for one in mel])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)


@pytest.mark.models
@needs_bfloat16
def test_bfloat16_stays_near_float32(whisper_tiny: Path, english: dict[str, Pcm]) -> None:
    weights = read_model_bin(whisper_tiny / "model.bin")
    wide = WhisperModel(whisper_tiny, "cpu", "float32", slots=1)
    narrow = Encoder(Builder(weights, torch.bfloat16, CPU), wide.spec)
    mel = features(hear(english["en/quick_brown_fox"], 80), 800)
    with torch.inference_mode():
        exact, close = wide.encoder(mel[None]), narrow(mel[None]).float()
    assert float((exact - close).std() / exact.std()) < 0.05


@pytest.mark.parametrize("positions", [1, 100, 256, 700])
def test_attention_in_blocks_equals_torch(positions: int) -> None:
    torch.manual_seed(positions)
    q, k, v = torch.randn(3, 2, 3, positions, 64, dtype=torch.bfloat16)
    expected = functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), scale=1.0)
    actual = Attention()(q, k, v).float()
    assert float((actual - expected).abs().mean() / expected.abs().mean()) < 0.03


@pytest.mark.models
def test_one_pass_equals_token_by_token(tiny: WhisperModel, english: dict[str, Pcm]) -> None:
    states = encode(tiny, english["en/counting"])
    said = (*tiny.tokens.opening("en"), 530, 734, 1115, 1440)
    with torch.inference_mode():
        for slot in (0, 2):
            tiny.decoder.hear(slot, states)
        at_once = tiny.decoder(pack([Span(2, 0, said)], CPU))
        steps = [tiny.decoder(pack([Span(0, i, (t,))], CPU)) for i, t in enumerate(said)]
    torch.testing.assert_close(torch.cat(steps), at_once, rtol=1e-4, atol=1e-3)


@pytest.mark.models
def test_the_form_for_kernels_equals_the_dense_one(tiny: WhisperModel) -> None:
    """Both forms of attention, over the same said and heard, ragged over slots."""
    torch.manual_seed(0)
    spans = [Span(2, 0, (5, 6, 7)), Span(0, 0, (8,)), Span(3, 0, (9, 9))]
    results = []
    parts = torch.randn(3, 6, tiny.spec.heads, 64)
    heard = {2: torch.randn(30, 4, 2, 6, 64), 0: torch.randn(7, 4, 2, 6, 64)}
    heard[3] = torch.randn(50, 4, 2, 6, 64)
    rows = pack(spans, CPU)
    slots, positions = rows.slots.int(), rows.positions.int()
    table = RowTable(rows.tokens.int(), positions, slots, positions + 1, row_tiles(slots.tolist()))
    for compact in (True, False):
        caches = SlotCaches(tiny.spec, 4, torch.float32, CPU, compact=compact)
        for slot, states in heard.items():
            caches.hear(slot, states)
        attention = (
            DenseAttention(caches, rows)
            if compact
            else KernelAttention(caches, table, slot_attention)
        )
        results.append((attention.over_said(1, *parts), attention.over_heard(1, parts[0])))
    for dense, kernel in zip(*results, strict=True):
        torch.testing.assert_close(dense, kernel, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)]
)
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_packed_linear_layers(dtype: torch.dtype, rows: int) -> None:
    torch.manual_seed(rows)
    weight, bias, x = torch.randn(96, 64), torch.randn(96), torch.randn(rows, 64)
    expected: Tensor = functional.gelu(functional.linear(x, weight, bias))
    actual = Linear(weight, bias, dtype, CPU, gelu=True)(x.to(dtype)).float()
    tolerance = 1e-4 if dtype is torch.float32 else 0.2
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", [1, 7, 32, 33])
def test_few_rows_lose_nothing_where_the_file_holds_float16(rows: int) -> None:
    torch.manual_seed(rows)
    weight, bias, x = torch.randn(96, 64).half().float(), torch.randn(96), torch.randn(rows, 64)
    expected = functional.gelu(functional.linear(x, weight, bias))
    actual = Linear(weight, bias, torch.float32, CPU, gelu=True, few_rows=True)(x)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_types_by_device() -> None:
    assert compute_dtype("auto", torch.device("cuda")) is torch.float16
    assert compute_dtype("auto", CPU) in (torch.bfloat16, torch.float32)
    assert compute_dtype("float32", torch.device("cuda")) is torch.float32


@pytest.mark.models
def test_a_quantised_or_missing_weight_is_refused(whisper_tiny: Path) -> None:
    build = Builder({"w/weight": torch.ones(2, 2, dtype=torch.int8)}, torch.float32, CPU)
    with pytest.raises(ModelError, match="quantised"):
        build.tensor("w/weight")
    with pytest.raises(ModelError, match="no weight"):
        build.linear("v")
