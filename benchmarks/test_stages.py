"""Each model by itself, without a server around it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from prometheus_client import REGISTRY
from pytest_benchmark.fixture import BenchmarkFixture

from engine.asr.backend import AsrBackend, AsrJob
from engine.asr.load import load as load_asr
from engine.config import EngineSettings
from engine.llm.llamacpp import LlamaCpp
from engine.types import GenerateRequest, Message
from engine.vad.silero import SileroVad

FRAME_SAMPLES = 512
HISTORY = (
    Message("user", "I am planning a walk along the coast this weekend and need some advice."),
    Message("assistant", "How nice! Take a rain coat, good shoes, and enough water with you."),
)


@pytest.mark.parametrize("slots", [1, 8, 64])
def test_vad_step(benchmark: BenchmarkFixture, utterance_samples: np.ndarray, slots: int) -> None:
    """32 ms of speech of every slot."""
    torch.set_num_threads(1)  # as the engine does
    vad = SileroVad(slots)
    vad.warmup()
    frame = utterance_samples[16_000 : 16_000 + FRAME_SAMPLES]
    frames, index = np.tile(frame, (slots, 1)), np.arange(slots)
    benchmark(vad.step, frames, index)


@pytest.fixture(scope="module")
def whisper(settings: EngineSettings) -> Iterator[AsrBackend]:
    backend = load_asr(settings, "cpu")
    backend.warmup()
    yield backend
    backend.close()


def stage_seconds(stage: str) -> float:
    return REGISTRY.get_sample_value("antiphon_stage_seconds_sum", {"stage": stage}) or 0.0


@pytest.mark.parametrize("segments", [1, 4, 8])
def test_whisper_encode_and_decode(
    benchmark: BenchmarkFixture,
    whisper: AsrBackend,
    utterance_samples: np.ndarray,
    segments: int,
) -> None:
    """Five-second segments that wait together; the two stages' means are in ``extra_info``."""
    jobs = [
        AsrJob(key, 0, 0, utterance_samples, is_final=True, language="en")
        for key in range(segments)
    ]

    def step() -> None:
        whisper.submit(jobs)
        heard = []
        while whisper.active:
            heard += whisper.step()
        assert len(heard) == segments
        assert not any(one.error for one in heard)

    rounds = 8
    before = {stage: stage_seconds(stage) for stage in ("asr_encode", "asr_decode")}
    benchmark.pedantic(step, rounds=rounds)
    for stage, seconds in before.items():
        mean_ms = (stage_seconds(stage) - seconds) / rounds * 1e3
        benchmark.extra_info[f"{stage}_mean_ms"] = round(mean_ms, 2)


class FirstToken:
    """Asks for replies of one token and waits for them."""

    def __init__(self, settings: EngineSettings, model: Path) -> None:
        self._news = threading.Event()
        self._turns = 0
        self.llm = LlamaCpp(settings, model, self._news.set)
        self.llm.warmup()

    def ask(self, messages: tuple[Message, ...]) -> None:
        self._turns += 1
        self.llm.submit(GenerateRequest(1, self._turns, messages, max_tokens=1))
        ended = False
        while not ended:
            assert self._news.wait(60)
            self._news.clear()
            ended = any(event.finish_reason for event in self.llm.step())


@pytest.fixture(scope="module")
def first_token(settings: EngineSettings, smollm2: Path) -> Iterator[FirstToken]:
    asking = FirstToken(settings, smollm2)
    yield asking
    asking.llm.close()


@pytest.mark.parametrize("cached", ["nothing", "system", "history"])
def test_llm_first_token(
    benchmark: BenchmarkFixture, settings: EngineSettings, first_token: FirstToken, cached: str
) -> None:
    """The first token of a second turn, by what of its prompt is in the slot's cache."""

    def messages() -> tuple[Message, ...]:
        new = secrets.token_hex(4)  # what follows it cannot be in the cache
        system = new + settings.system if cached == "nothing" else settings.system
        before = "" if cached == "history" else new
        return (
            Message("system", system),
            Message("user", before + HISTORY[0].content),
            HISTORY[1],
            Message("user", new + " What else should I think of before I go?"),
        )

    first_token.ask(messages())
    tokens = {kind: tokens_so_far(kind) for kind in ("cached", "prompt")}
    rounds = 10
    benchmark.pedantic(first_token.ask, setup=lambda: ((messages(),), {}), rounds=rounds)
    for kind, count in tokens.items():
        benchmark.extra_info[f"{kind}_tokens"] = (tokens_so_far(kind) - count) / rounds


def tokens_so_far(kind: str) -> float:
    return REGISTRY.get_sample_value("antiphon_llm_tokens_total", {"kind": kind}) or 0.0
