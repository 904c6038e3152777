"""Models of random weights: read by the engine like any other, with texts of the set lengths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from processors import needs_bfloat16

from benchmarks.gpu import decoder, random_model
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.models import folder_of, forced_tokens, load_backend, load_model
from benchmarks.gpu.shapes import BASE, SMALL, TURBO
from benchmarks.gpu.variants import GRAPHS, KERNELS, TORCH, best_on, forms_of, graphs_switch
from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.guards import Verdict, judge
from engine.types import SAMPLE_RATE
from engine.whisper.continuous import ContinuousDecoder
from engine.whisper.row import RowRequest, RowResult
from engine.whisper.weights import read_model_bin
from kernels.dispatch import REFERENCE, operations_for

QUICK = Bench("cpu", quick=True, models=(SMALL.name,), batches=(1, 4))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with folder_of(SMALL.name) as made:
        yield made
    assert not made.exists()


def finish(rows: ContinuousDecoder) -> list[RowResult]:
    ended = []
    while len(rows):
        ended += [result for _, result in rows.step()]
    return ended


@pytest.mark.models
def test_base_has_the_weights_of_the_real_one(whisper_base: Path) -> None:
    real = read_model_bin(whisper_base / "model.bin")
    sizes = {name: tuple(weight.shape) for name, weight in real.items() if weight.dim()}
    ours = random_model.weight_shapes(BASE)
    ours["decoder/projection/weight"] = ours["decoder/embeddings/weight"]
    assert ours == sizes


def test_the_sizes_of_turbo_are_those_that_openai_published() -> None:
    sizes = random_model.weight_shapes(TURBO)
    assert sizes["decoder/embeddings/weight"] == (51_866, 1280)
    assert sizes["encoder/conv1/weight"] == (1280, 128, 3)
    assert "encoder/layer_31/ffn/linear_1/weight" in sizes
    assert "encoder/layer_32/ffn/linear_1/weight" not in sizes
    assert "decoder/layer_3/attention/linear_2/weight" in sizes
    assert "decoder/layer_4/attention/linear_2/weight" not in sizes
    ids = random_model.special_tokens(TURBO)
    known = {"<|endoftext|>": 50257, "<|en|>": 50259, "<|notimestamps|>": 50364}
    assert {name: ids[name] for name in known} == known  # of the tokenizer of large-v3


@pytest.mark.parametrize(
    "compute_type", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)]
)
def test_a_text_is_as_long_as_it_may_be_and_a_draft_of_longer_ones(
    folder: Path, compute_type: str
) -> None:
    from engine.whisper.model import WhisperModel

    model = WhisperModel(folder, "cpu", compute_type, 4)  # type: ignore[arg-type]
    heard = torch.randn(4, 200, SMALL.width).to(model.dtype)
    with torch.inference_mode():
        rows = model.continuous()
        for count, states in zip((1, 7, 30, 90), heard, strict=True):
            rows.join(RowRequest(count, "en"), states)
        texts = sorted((result.tokens for result in finish(rows)), key=len)
        assert [len(text) for text in texts] == [1, 7, 30, 90]
        assert all(text == texts[-1][: len(text)] for text in texts), "whatever was heard"
        assert len(set(texts[-1])) == 90, "no token twice, so no loop"

        rows.join(RowRequest(90, "en", draft=texts[2]), heard[0])
        (drafted,) = finish(rows)
    assert drafted.tokens == texts[-1]
    assert (drafted.drafted, drafted.agreed) == (30, 30)
    assert drafted.passes == 60, "the draft and one token in the first, then one token in each"


def test_a_job_says_what_people_say_in_its_time(folder: Path) -> None:
    backend = load_backend(folder, QUICK, TORCH, slots=4)
    pcm = np.random.default_rng(0).normal(0, 0.1, 6 * SAMPLE_RATE).astype(np.float32)

    def say(seconds: float, *, final: bool) -> Hypothesis:
        heard = pcm[: round(seconds * SAMPLE_RATE)]
        backend.submit([AsrJob(1, 0, 0, heard, is_final=final, language="en")])
        found: list[Hypothesis] = []
        while not found:
            found = backend.step()
        return found[0]

    partial, final = say(3.0, final=False), say(6.0, final=True)
    assert [len(one.tokens) for one in (partial, final)] == [13, 25]
    assert [forced_tokens(seconds) for seconds in (3.0, 6.0)] == [13, 25]
    assert final.tokens[:13] == partial.tokens
    assert judge(partial) is judge(final) is Verdict.KEEP


def test_a_step_is_refused_where_rows_are_not_as_long_as_they_should_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(folder, QUICK, TORCH, slots=4)
    with torch.inference_mode():
        row = decoder.steps(model, 3, QUICK)
        assert row["tokens_each"] == decoder.DRAFT_TOKENS + 2
        monkeypatch.setattr("engine.whisper.row.repeats", lambda text: len(text) > 5)
        with pytest.raises(RuntimeError, match="3 rows of 22 tokens should have ended"):
            decoder.steps(model, 3, QUICK)


@pytest.mark.parametrize(("variant", "form"), [(KERNELS, "triton"), (TORCH, "torch")])
def test_a_variant_decides_which_forms_the_engine_is_given(variant: object, form: str) -> None:
    pytest.importorskip("triton")
    with forms_of(variant):  # type: ignore[arg-type]
        assert operations_for(torch.device("cuda"), torch.float16).name == form
    assert operations_for(torch.device("cuda"), torch.float16) is not REFERENCE


def test_graphs_are_turned_on_where_there_is_a_switch() -> None:
    def with_switch(folder: Path, *, graphs: bool = False) -> None: ...

    def without(folder: Path) -> None: ...

    assert graphs_switch(with_switch, GRAPHS) == {"graphs": True}
    assert graphs_switch(with_switch, KERNELS) == {"graphs": False}
    assert graphs_switch(without, GRAPHS) == {}
    assert best_on("cpu") is TORCH
    assert best_on("cuda").fused
