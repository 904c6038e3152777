"""Each model by itself, without a server around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from prometheus_client import REGISTRY
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.first_token import FirstToken, tokens_so_far
from engine.asr.backend import AsrBackend, AsrJob
from engine.asr.load import load as load_asr
from engine.config import EngineSettings
from engine.vad.silero import SileroVad

FRAME_SAMPLES = 512


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


@pytest.fixture(scope="module")
def first_token(settings: EngineSettings, smollm2: Path) -> Iterator[FirstToken]:
    asking = FirstToken(settings, smollm2)
    yield asking
    asking.lane.close()


@pytest.mark.parametrize("cached", ["nothing", "system", "history"])
def test_llm_first_token(benchmark: BenchmarkFixture, first_token: FirstToken, cached: str) -> None:
    """The first token of a second turn, by what of its prompt is in the slot's cache."""
    first_token.ask(first_token.request(cached))
    tokens = {kind: tokens_so_far(kind) for kind in ("cached", "prompt")}
    rounds = 10
    benchmark.pedantic(
        first_token.ask, setup=lambda: ((first_token.request(cached),), {}), rounds=rounds
    )
    for kind, count in tokens.items():
        benchmark.extra_info[f"{kind}_tokens"] = (tokens_so_far(kind) - count) / rounds
