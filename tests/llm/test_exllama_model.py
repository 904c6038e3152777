"""What the exllamav2 backend needs, what it refuses, and how large it makes things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from exllama_fakes import MARKS, Generator, installed, write_model

from engine.config import EngineSettings
from engine.errors import ModelError
from engine.llm import exllama_model
from engine.llm.exllama import ExLlama
from engine.llm.exllama_model import Loaded, load_exllama, model_folder, require
from engine.llm.load import load
from kernels import dispatch

SETTINGS = EngineSettings(llm="exllamav2", llm_slots=3, llm_context_tokens=1000)


def loaded(folder: Path, **config: Any) -> Loaded:
    with installed():
        return load_exllama(SETTINGS, write_model(folder / "model", **config))


def test_without_cuda_it_says_what_is_missing_and_what_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"CUDA device.*--llm llamacpp.*--llm openai"):
        load(SETTINGS, lambda: None)


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(exllama_model, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"antiphon\[cuda\].*--llm llamacpp"):
        require(SETTINGS)


def test_it_is_not_for_the_cpu() -> None:
    with pytest.raises(ModelError, match="device is cpu"):
        require(SETTINGS.model_copy(update={"device": "cpu"}))


def test_the_embedded_models_name_is_no_folder() -> None:
    with pytest.raises(ModelError, match="--llm-model"):
        model_folder(SETTINGS.llm_model)


def test_a_folder_must_hold_a_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    assert model_folder(str(folder)) == folder
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        model_folder(str(folder))


def test_the_cache_holds_every_reply_in_whole_pages(tmp_path: Path) -> None:
    made = loaded(tmp_path, max_position_embeddings=8192).generator.given
    assert made["cache"].max_seq_len == 3 * 1024
    assert made["max_batch_size"] == 3


def test_a_model_may_know_shorter_contexts_than_asked_for(tmp_path: Path) -> None:
    found = loaded(tmp_path, max_position_embeddings=600)
    assert found.context_tokens == 600
    assert found.generator.given["cache"].max_seq_len == 3 * 768


@pytest.mark.parametrize(("slots", "context"), [(1, 256), (256, 256), (256, 300), (1, 131072)])
def test_buffers_fit_any_settings(tmp_path: Path, slots: int, context: int) -> None:
    """The fake refuses what the library asserts against."""
    settings = EngineSettings(llm="exllamav2", llm_slots=slots, llm_context_tokens=context)
    with installed():
        folder = write_model(tmp_path / "model", max_position_embeddings=131072)
        assert isinstance(load_exllama(settings, folder).generator, Generator)


def test_our_attention_is_put_where_flash_attn_is_missing(tmp_path: Path) -> None:
    with installed() as attn:
        folder = write_model(tmp_path / "model")
        first, second = (load_exllama(SETTINGS, folder) for _ in range(2))
    ours = dispatch.operations_for(torch.device("cuda"), torch.float16)
    assert first.attention == second.attention == ours.name
    assert attn.flash_attn_with_kvcache is ours.paged_attention


def test_flash_attn_is_left_where_it_is(tmp_path: Path) -> None:
    with installed(flash_attn=True) as attn:
        backend = ExLlama(SETTINGS, write_model(tmp_path / "llama"))
    assert backend.name == "exllamav2/llama (flash-attn)"
    assert not hasattr(attn, "flash_attn_with_kvcache")


def test_the_name_says_which_attention(tmp_path: Path) -> None:
    with installed():
        backend = ExLlama(SETTINGS, write_model(tmp_path / "llama"))
    assert backend.name == f"exllamav2/llama ({backend._loaded.attention})"


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"sliding_window": 512}, "--llm-context-tokens 512"),
        ({"attn_logit_softcapping": 50.0}, "soft"),
    ],
)
def test_attention_that_ours_has_not_is_refused(
    tmp_path: Path, config: dict[str, Any], word: str
) -> None:
    with pytest.raises(ModelError, match=word):
        loaded(tmp_path, **config)
    with installed(flash_attn=True):
        load_exllama(SETTINGS, write_model(tmp_path / "model", **config))


def test_a_window_longer_than_the_context_is_none(tmp_path: Path) -> None:
    loaded(tmp_path, sliding_window=4096)


def test_a_window_that_the_architecture_does_not_use_is_none(tmp_path: Path) -> None:
    loaded(tmp_path, sliding_window=512, fake_swa=False)


def test_a_nested_rope_theta_is_found(tmp_path: Path) -> None:
    nested = {"rope_parameters": {"rope_theta": 100_000, "rope_type": "default"}}
    config = loaded(tmp_path, **nested).generator.model.config
    assert config.rotary_embedding_base == 100_000.0


def test_scaled_positions_that_would_be_passed_over_are_refused(tmp_path: Path) -> None:
    nested = {"rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0}}
    with pytest.raises(ModelError, match="rope_scaling"):
        loaded(tmp_path, **nested)


def test_every_token_that_ends_a_reply_is_known(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", eos_token_id=[7, 8])
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 9}))
    with installed():
        assert load_exllama(SETTINGS, folder).stop_ids == {2, 7, 8, 9}


@pytest.mark.parametrize("eos", ["<|im_start|>", {"content": "<|im_start|>", "lstrip": False}])
def test_the_token_that_ends_a_turn_may_be_named_with_the_tokenizer(
    tmp_path: Path, eos: str | dict[str, Any]
) -> None:
    """Where config.json still names the one of the model that this one was made of."""
    folder = write_model(tmp_path / "model", eos_token_id=7)
    config = {"chat_template": "-", "eos_token": eos}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with installed():
        assert load_exllama(SETTINGS, folder).stop_ids == {2, 7, MARKS["<|im_start|>"]}


def test_whatever_the_library_raises_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Generator, "__init__", lambda self, **given: 1 / 0)
    with pytest.raises(ModelError, match=r"cannot load .*model: division by zero"):
        loaded(tmp_path)
