"""How exllamav2's modes are compared: with the library's own generator, on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from benchmarks.gpu import replies
from benchmarks.gpu.bench import Bench, Record, Skipped
from engine.config import EngineSettings
from engine.llm.exllama_model import Loaded, load_exllama


@pytest.fixture
def loaded(smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loaded]:
    monkeypatch.syspath_prepend(ROOT / "tests" / "llm")
    from hf_model import convert
    from real_exllama import on_a_cpu

    convert(smollm2, tmp_path)
    with on_a_cpu(tmp_path):
        settings = EngineSettings(llm="exllamav2", llm_slots=4, llm_context_tokens=512)
        yield load_exllama(settings, tmp_path)


@pytest.mark.models
@pytest.mark.skipif(find_spec("exllamav2") is None, reason="needs exllamav2")
def test_answers_are_the_tokens_of_each_prompt(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "TOKENS", 6)
    prompts = [f"The capital of {country} is" for country in ("France", "Italy", "Japan")]
    together = replies.answers(loaded, loaded.generator, prompts)
    alone = [replies.answers(loaded, loaded.generator, [prompt])[0] for prompt in prompts]
    assert together == alone
    assert "Paris" in said(loaded, together[0])
    assert "Rome" in said(loaded, together[1])
    assert all(1 <= len(tokens) <= 6 for tokens in together)


def said(loaded: Loaded, tokens: tuple[int, ...]) -> Any:
    import torch

    return loaded.tokenizer.decode(torch.tensor([tokens]))[0]


@pytest.mark.parametrize(
    ("one", "other", "same"), [((), (), 0), ((1, 2), (1, 2, 3), 2), ((1, 9, 3), (1, 2, 3), 1)]
)
def test_tokens_before_a_difference(
    one: tuple[int, ...], other: tuple[int, ...], same: int
) -> None:
    assert replies._agreed(one, other) == same


def test_a_cpu_is_told_that_it_cannot() -> None:
    with pytest.raises(Skipped, match="CUDA only"):
        replies.measure(Bench("cpu"), Record(lambda content: None))
