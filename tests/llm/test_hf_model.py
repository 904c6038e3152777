"""The small model made from the embedded GGUF is the same model, and paged attention runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import xllamacpp
from safetensors import safe_open
from small_llama import Pages, SmallLlama, attend_whole
from tokenizers import Tokenizer

from engine.config import EngineSettings
from engine.llm.chat_template import load_chat_template
from engine.types import Message

gguf = pytest.importorskip("gguf")
import hf_model  # noqa: E402 - needs gguf

# With this system prompt the first token is far ahead; llama.cpp rounds activations to 8 bits.
QUESTION = (
    Message("system", EngineSettings().system),
    Message("user", "What is the capital of France?"),
)
TEXTS = [
    "The capital of France is",
    "In 1984, 2,048 people's  dogs\tbarked.\n\nThen: silence…",
    "Grüße aus Köln, 世界! \U0001f600",
]


@pytest.fixture(scope="module")
def model(small_model: Path) -> SmallLlama:
    return SmallLlama(small_model)


@pytest.fixture(scope="module")
def tokenizer(small_model: Path) -> Tokenizer:
    return Tokenizer.from_file(str(small_model / "tokenizer.json"))


@pytest.fixture(scope="module")
def llama_cpp(smollm2: Path) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(smollm2)
    params.n_ctx, params.n_parallel = 512, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.verbosity = 0
    params.cache_ram_mib, params.fit_params = 0, False
    return xllamacpp.Server(params)


def ask(call: Callable[..., None], **body: Any) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def take(chunk: Any) -> None:
        found.append(json.loads(chunk) if isinstance(chunk, str) else chunk)

    call(json.dumps(body | {"temperature": 0}), take)
    return found[-1]


def test_dequantised_weights_come_back_from_the_file(smollm2: Path, small_model: Path) -> None:
    """Each is the GGUF's within float16, in its own order of rows."""
    reader = gguf.GGUFReader(smollm2)
    by_name = {tensor.name: tensor for tensor in reader.tensors}
    with safe_open(small_model / "model.safetensors", "pt") as file:
        assert len(list(file.keys())) == len(by_name)
        for name in ("blk.7.ffn_down.weight", "token_embd.weight", "output_norm.weight"):
            tensor = by_name[name]
            expected = gguf.dequantize(tensor.data, tensor.tensor_type)
            stored = file.get_tensor(hf_model.hf_name(name)[0])
            assert stored.dtype == torch.float16
            torch.testing.assert_close(
                stored.float(), torch.tensor(expected), rtol=2**-10, atol=1e-6
            )


def test_heads_are_put_back_in_order() -> None:
    """llama.cpp lays row ``i`` of a head's first half beside row ``i`` of its second."""
    rows = torch.arange(16).view(16, 1).numpy()
    halves = rows.reshape(2, 2, 4, 1).swapaxes(1, 2).reshape(16, 1)  # as its converter does
    assert (hf_model.unpermute(halves, heads=2) == rows).all()


def test_the_configuration_is_read_where_exllamav2_looks(small_model: Path) -> None:
    config = json.loads((small_model / "config.json").read_text())
    assert config["rope_theta"] == 100_000
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["hidden_size"] % config["num_attention_heads"] == 0


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("text", TEXTS)
def test_it_cuts_text_as_llama_cpp_does(tokenizer: Tokenizer, llama_cpp: Any, text: str) -> None:
    usage = ask(llama_cpp.handle_completions, prompt=text, max_tokens=1)["usage"]
    assert usage["prompt_tokens"] == len(tokenizer.encode(text).ids)


def test_marks_of_the_template_are_single_tokens(small_model: Path, tokenizer: Tokenizer) -> None:
    prompt = load_chat_template(small_model).render(QUESTION)
    assert prompt.endswith("<|im_start|>assistant\n")
    ids = tokenizer.encode(prompt).ids
    assert ids.count(tokenizer.token_to_id("<|im_start|>")) == 3


def greedy(model: SmallLlama, prompt: list[int], count: int) -> list[int]:
    """The whole sequence anew for each token."""
    ids = list(prompt)
    for _ in range(count):
        logits = model.logits(torch.tensor([ids]), torch.zeros(1, dtype=torch.int32), attend_whole)
        ids.append(int(logits.argmax()))
    return ids[len(prompt) :]


@torch.inference_mode()
def test_it_says_what_llama_cpp_says(
    small_model: Path, model: SmallLlama, tokenizer: Tokenizer, llama_cpp: Any
) -> None:
    prompt = load_chat_template(small_model).render(QUESTION)
    messages = [{"role": m.role, "content": m.content} for m in QUESTION]
    answer = ask(llama_cpp.handle_chat_completions, messages=messages, max_tokens=7)
    said = answer["choices"][0]["message"]["content"]
    assert tokenizer.decode(greedy(model, tokenizer.encode(prompt).ids, 7)) == said
    assert "Paris" in said


@torch.inference_mode()
def test_paged_equals_unpaged_token_for_token(
    small_model: Path, model: SmallLlama, tokenizer: Tokenizer
) -> None:
    """Two replies at once over scattered pages, one prompt in pieces over a page's edge."""
    short = tokenizer.encode(load_chat_template(small_model).render(QUESTION)).ids
    long = tokenizer.encode("The cat sat on the mat, and so did the dog. " * 24).ids
    assert len(long) > 256 + 8
    pages, count = Pages(model, sequences=2, pages_each=2), 3
    pages.logits(model, torch.tensor([long[:250]]), [1])
    last = torch.cat(
        [
            pages.logits(model, torch.tensor([short]), [0]),
            pages.logits(model, torch.tensor([long[250:]]), [1]),
        ]
    )
    said = [last.argmax(-1)]
    for _ in range(count - 1):
        said.append(pages.logits(model, said[-1][:, None], [0, 1]).argmax(-1))
    together = torch.stack(said, dim=1).tolist()
    assert together == [greedy(model, short, count), greedy(model, long, count)]
