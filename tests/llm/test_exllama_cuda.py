"""exllamav2 itself with the small real model; skipped where there is no GPU or no exllamav2."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from llm_fakes import is_ending
from small_llama import SmallLlama, attend_whole
from tokenizers import Tokenizer

from engine.config import EngineSettings
from engine.llm.chat_template import load_chat_template
from engine.llm.exllama import ExLlama
from engine.types import GenerateRequest, Message, ResponseDelta

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(find_spec("exllamav2") is None, reason="needs exllamav2"),
]
SETTINGS = EngineSettings(llm="exllamav2", llm_slots=8, llm_context_tokens=1024)
CITIES = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Egypt": "Cairo"}


@pytest.fixture(scope="module")
def backend(small_model: Path) -> Iterator[ExLlama]:
    made = ExLlama(SETTINGS, small_model)
    made.warmup()
    yield made
    made.close()


def question(key: int, country: str, max_tokens: int = 8) -> GenerateRequest:
    text = f"What is the capital of {country}?"
    messages = (Message("system", SETTINGS.system), Message("user", text))
    return GenerateRequest(key, 0, messages, max_tokens)


def answers(backend: ExLlama, *requests: GenerateRequest) -> dict[int, str]:
    texts = {request.key: "" for request in requests}
    for request in requests:
        backend.submit(request)
    while backend.busy:
        for event in backend.step():
            assert isinstance(event, ResponseDelta), event
            texts[event.key] += event.text
    return texts


def test_it_says_what_the_written_out_model_says(backend: ExLlama, small_model: Path) -> None:
    asked = question(1, "France", 7)
    tokenizer = Tokenizer.from_file(str(small_model / "tokenizer.json"))
    ids = tokenizer.encode(load_chat_template(small_model).render(asked.messages)).ids
    model, start = SmallLlama(small_model), len(ids)
    with torch.inference_mode():
        for _ in range(7):
            zero = torch.zeros(1, dtype=torch.int32)
            ids.append(int(model.logits(torch.tensor([ids]), zero, attend_whole).argmax()))
    assert answers(backend, asked)[1] == tokenizer.decode(ids[start:])


def test_together_they_say_what_each_says_alone(backend: ExLlama) -> None:
    alone = {
        key: answers(backend, question(key, country))[key] for key, country in enumerate(CITIES)
    }
    together = answers(backend, *(question(10 + key, c) for key, c in enumerate(CITIES)))
    assert {key - 10: text for key, text in together.items()} == alone
    for key, city in enumerate(CITIES.values()):
        assert city in alone[key]


def test_cancel_in_prefill_and_in_decode(backend: ExLlama) -> None:
    for steps in (0, 3):
        backend.submit(question(1, "France", 64))
        events = [event for _ in range(steps) for event in backend.step()]
        backend.cancel(1, 0)
        events += backend.step()
        (end,) = [event for event in events if is_ending(event)]
        assert end == ResponseDelta(1, 0, "", "cancelled")
        assert not backend.busy
