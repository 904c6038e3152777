"""The embedded language model, loaded once for all tests that ask it, and a bad server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_server import BadServer, bad_server
from llm_fakes import Talk
from openai_bench import Bench

from engine.config import EngineSettings
from engine.llm.llamacpp import LlamaCpp

SETTINGS = EngineSettings(llm_slots=4, llm_context_tokens=1024, threads=2)


@pytest.fixture(scope="session")
def llamacpp(smollm2: Path) -> Iterator[Talk]:
    news = threading.Event()
    backend = LlamaCpp(SETTINGS, smollm2, news.set)
    backend.warmup()
    yield Talk(backend, news)
    backend.close()


@pytest.fixture(scope="session")
def small_model(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a folder in Hugging Face's format, fp16."""
    pytest.importorskip("gguf")
    from hf_model import convert

    folder = tmp_path_factory.mktemp("smollm2")
    convert(smollm2, folder)
    return folder


@pytest.fixture
def bad() -> Iterator[BadServer]:
    with bad_server() as server:
        yield server


@pytest.fixture
def bench(bad: BadServer) -> Iterator[Bench]:
    bench = Bench(bad)
    yield bench
    bench.backend.close()


@pytest.fixture
def hasty(bad: BadServer) -> Iterator[Bench]:
    """One that waits for nobody."""
    bench = Bench(bad, llm_first_token_timeout_s=0.1, llm_idle_timeout_s=0.1)
    yield bench
    bench.backend.close()
