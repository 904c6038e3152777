"""The form that runs on a GPU: its logic on a CPU, and all of it where there is a device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fake_queue import fake_queues
from torch import Tensor
from whisper_cases import alone, encode, finish

from engine.asr.backend import AsrJob
from engine.types import Pcm
from engine.whisper.backend import TorchWhisper
from engine.whisper.linear import ComputeType
from engine.whisper.model import WhisperModel
from engine.whisper.row import RowRequest, RowResult

pytestmark = pytest.mark.models

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

REQUESTS = [
    RowRequest(max_tokens=60, draft=(464, 2068, 999)),
    RowRequest(max_tokens=60, timestamps=True),
    RowRequest(max_tokens=20, previous=(2436, 1573, 11), align=True),
]


def together(model: WhisperModel, states: list[Tensor]) -> list[RowResult]:
    decoder = model.continuous()
    with torch.inference_mode():
        slots = [
            decoder.join(request, heard) for request, heard in zip(REQUESTS, states, strict=True)
        ]
    results = finish(decoder)
    return [results[slot] for slot in slots]


@pytest.mark.parametrize("graphs", [False, True])
def test_through_the_kernels_seam_the_text_is_the_same(
    tiny: WhisperModel, whisper_tiny: Path, english_states: list[Tensor], graphs: bool
) -> None:
    """A model with queues, as on a GPU: static buffers, strided caches, attention of `kernels`."""
    queues = fake_queues()
    model = WhisperModel(whisper_tiny, "cpu", "float32", slots=3, graphs=graphs, queues=queues)
    expected = [
        alone(tiny, states, request)
        for states, request in zip(english_states, REQUESTS, strict=True)
    ]
    results = together(model, english_states)
    assert [r.tokens for r in results] == [r.tokens for r in expected]
    for ours, theirs in zip(results, expected, strict=True):
        assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-3)
        assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-5)
    attention, same = results[2].attention, expected[2].attention
    assert attention is not None
    assert same is not None
    torch.testing.assert_close(attention, same, rtol=1e-3, atol=1e-4)
    assert bool(queues.decoder.graphs) == graphs


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("compute_type", ["float32", "float16"])
def test_on_a_gpu_the_text_is_that_of_the_cpu(
    tiny: WhisperModel,
    whisper_tiny: Path,
    english: dict[str, Pcm],
    compute_type: ComputeType,
    graphs: bool,
) -> None:
    model = WhisperModel(whisper_tiny, "cuda", compute_type, slots=3, graphs=graphs)
    states = [encode(model, pcm) for pcm in english.values()]
    torch.cuda.synchronize()  # they were made on another stream than the decoder's
    expected = [
        alone(tiny, encode(tiny, pcm), request)
        for pcm, request in zip(english.values(), REQUESTS, strict=True)
    ]
    results = together(model, states)
    assert [r.tokens for r in results] == [r.tokens for r in expected]
    assert [r.tokens for r in together(model, states)] == [r.tokens for r in expected]


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("graphs", [False, True])
def test_on_a_gpu_nothing_synchronises_but_the_one_wait(
    whisper_tiny: Path, english: dict[str, Pcm], graphs: bool
) -> None:
    """torch raises where an operation makes the host wait; waiting for an event is none."""
    model = WhisperModel(whisper_tiny, "cuda", "float16", slots=4, graphs=graphs)
    states = [encode(model, pcm) for pcm in english.values()]
    hot = RowRequest(max_tokens=20, temperature=0.8, seed=7)
    torch.cuda.synchronize()
    decoder = model.continuous()
    with torch.inference_mode():
        decoder.prepare()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for request, heard in zip((*REQUESTS, hot), (*states, states[0]), strict=True):
                decoder.join(request, heard)
            while len(decoder):
                decoder.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@needs_cuda
def test_on_a_gpu_jobs_are_heard_as_on_a_cpu(whisper_tiny: Path, english: dict[str, Pcm]) -> None:
    """The whole backend: the encoder on its stream, the decoder on another."""
    texts = []
    for device in ("cpu", "cuda"):
        backend = TorchWhisper(whisper_tiny, device, "float32", threads=1, slots=3)
        backend.warmup()
        clips = [*english.values()] * 3
        backend.submit([AsrJob(key, 0, 0, pcm, is_final=True) for key, pcm in enumerate(clips)])
        heard = {}
        while backend.active:
            heard |= {h.job.key: h.text for h in backend.step()}
        texts.append([heard[key] for key in range(len(clips))])
        backend.close()
    assert texts[0] == texts[1]
