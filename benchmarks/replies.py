"""Replies by one language model, for more and more sessions at once.

    python -m benchmarks.replies out.json                                   # llama.cpp, on a CPU
    python -m benchmarks.replies out.json --llm exllamav2 --llm-model DIR   # on a GPU

Every session asks at the same moment, with a conversation of its own; the backend is stepped as the
engine's lane does it, without the rest of the engine.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.kernels.timing import device_name, environment
from engine.config import EngineSettings
from engine.llm.backend import LlmBackend
from engine.llm.load import load
from engine.metrics import LLM_TOKENS
from engine.types import Failure, GenerateRequest, Message

_TALK = "I went to the market and bought apples, bread and a little cheese. "


@dataclass(frozen=True, slots=True)
class Round:
    """All sessions asked once. Times in milliseconds, from the moment they all asked."""

    sessions: int
    first_token_p50_ms: float
    first_token_max_ms: float
    tokens: int
    tokens_per_s: float


def ask_all(backend: LlmBackend, news: threading.Event, sessions: int, tokens: int) -> Round:
    """One round; every prompt is new to the model, but for its system prompt."""
    generated = LLM_TOKENS.labels("generated")
    before, began = generated._value.get(), time.perf_counter()
    for key in range(sessions):
        backend.submit(_request(key, sessions, tokens))
    first: dict[int, float] = {}
    open_sessions = sessions
    while open_sessions:
        if not backend.busy:
            news.wait(60)
        news.clear()
        for event in backend.step():
            if isinstance(event, Failure):
                raise RuntimeError(event.message)
            if event.text:
                first.setdefault(event.key, time.perf_counter() - began)
            open_sessions -= event.finish_reason is not None
    seconds = time.perf_counter() - began
    count = int(generated._value.get() - before)
    for key in range(sessions):
        backend.forget(key)
    ms = 1000 * np.array(list(first.values()))
    return Round(
        sessions, round(float(np.median(ms)), 1), round(float(ms.max()), 1), count,
        round(count / seconds, 1),
    )  # fmt: skip


def _request(key: int, sessions: int, tokens: int) -> GenerateRequest:
    asked = f"I am guest {key} of {sessions}. {_TALK * 4}Tell me a long story about that."
    messages = (Message("system", EngineSettings().system), Message("user", asked))
    return GenerateRequest(key, 0, messages, tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="where the results go as JSON")
    parser.add_argument("--llm", default="llamacpp")
    parser.add_argument("--llm-model", default=EngineSettings().llm_model)
    parser.add_argument("--sessions", default="1,2,4,8,16,32,64")
    parser.add_argument("--tokens", type=int, default=64, help="of each reply (default: 64)")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.sessions.split(",")]
    settings = EngineSettings(
        llm=arguments.llm, llm_model=arguments.llm_model, llm_slots=max(counts),
        llm_context_tokens=1024,
    )  # fmt: skip
    news = threading.Event()
    backend = load(settings, news.set)
    backend.warmup()
    rounds = []
    for count in counts:
        rounds.append(ask_all(backend, news, count, arguments.tokens))
        print(rounds[-1])
    on = torch.device("cuda" if arguments.llm == "exllamav2" else "cpu")
    head = environment(on) | {"device": device_name(on), "llm": backend.name}
    rows = [{name: getattr(row, name) for name in Round.__slots__} for row in rounds]
    arguments.out.write_text(json.dumps(head | {"rounds": rows}, indent=1) + "\n")
    backend.close()


if __name__ == "__main__":
    main()
