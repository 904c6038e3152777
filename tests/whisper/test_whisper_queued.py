"""The encoder beside the decoder: rows join when they are encoded, and nobody waits for that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from fake_queue import FakeQueue
from torch import Tensor

from engine.asr.backend import AsrJob, Hypothesis
from engine.errors import AsrFailed
from engine.types import Pcm
from engine.whisper.backend import TorchWhisper
from kernels.queues import Queues

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def backend(whisper_tiny: Path) -> TorchWhisper:
    """Four slots; encodings are done when a test says so, or when there is nothing else to do."""
    queues = Queues(FakeQueue(), FakeQueue())
    return TorchWhisper(
        whisper_tiny, compute_type="float32", threads=1, slots=4, graphs=False, queues=queues
    )


@pytest.fixture(autouse=True)
def _forget(backend: TorchWhisper) -> Iterator[None]:
    yield
    for key in range(10):
        backend.cancel(key)
    assert backend.active == 0
    assert backend._free == 4
    encoder_of(backend).quick = False


@pytest.fixture(scope="module")
def clips(english: dict[str, Pcm]) -> list[Pcm]:
    return list(english.values())


@pytest.fixture(scope="module")
def expected(whisper_tiny: Path, clips: list[Pcm]) -> list[tuple[int, ...]]:
    """What a CPU's own way makes of the clips."""
    plain = TorchWhisper(whisper_tiny, compute_type="float32", threads=1, slots=4)
    plain.submit([job(pcm, key) for key, pcm in enumerate(clips)])
    return [h.tokens for h in sorted(drain(plain), key=lambda h: h.job.key)]


def encoder_of(backend: TorchWhisper) -> FakeQueue:
    assert backend._queues is not None
    return cast(FakeQueue, backend._queues.encoder)


def decoder_of(backend: TorchWhisper) -> FakeQueue:
    assert backend._queues is not None
    return cast(FakeQueue, backend._queues.decoder)


def job(pcm: Pcm, key: int, *, final: bool = True) -> AsrJob:
    return AsrJob(key, 0, 0, pcm, is_final=final, language="en")


def drain(backend: TorchWhisper) -> list[Hypothesis]:
    """Step until nothing is left; what came back, in order."""
    heard: list[Hypothesis] = []
    while backend.active:
        heard += backend.step()
    return heard


def begin(backend: TorchWhisper, pcm: Pcm, key: int) -> None:
    """Submit a final and have it join."""
    backend.submit([job(pcm, key)])
    while key not in [job.key for job in backend._running.values()]:
        backend.step()


def test_the_text_is_that_of_a_cpu_and_each_step_waits_once(
    backend: TorchWhisper, clips: list[Pcm], expected: list[tuple[int, ...]]
) -> None:
    backend.submit([job(pcm, key) for key, pcm in enumerate(clips)])
    heard: list[Hypothesis] = []
    queues = encoder_of(backend), decoder_of(backend)
    while backend.active:
        before = sum(queue.waits for queue in queues)
        heard += backend.step()
        assert sum(queue.waits for queue in queues) <= before + 1
    assert [h.tokens for h in sorted(heard, key=lambda h: h.job.key)] == expected


def test_tokens_go_on_while_others_are_encoded(backend: TorchWhisper, clips: list[Pcm]) -> None:
    begin(backend, clips[0], 1)
    encoder = encoder_of(backend)
    encoded = len(encoder.events)
    backend.submit([job(clips[1], 2)])
    heard: list[Hypothesis] = []
    while not heard:
        heard = backend.step()
        assert backend.active == 2 - len(heard)
        assert len(encoder.events) == encoded + 1
    assert [h.job.key for h in heard] == [1]
    assert not encoder.events[-1].is_done
    assert [h.job.key for h in drain(backend)] == [2]


def test_a_row_joins_once_it_is_encoded(backend: TorchWhisper, clips: list[Pcm]) -> None:
    begin(backend, clips[0], 1)
    backend.submit([job(clips[1], 2)])
    for _ in range(3):
        backend.step()
        assert len(backend._running) == 1
    encoder_of(backend).events[-1].complete()
    backend.step()
    assert len(backend._running) == 2


def test_finals_are_put_in_line_and_partials_only_where_nothing_is(
    backend: TorchWhisper, clips: list[Pcm]
) -> None:
    begin(backend, clips[0], 1)
    encoder = encoder_of(backend)
    before = len(encoder.events)
    partial = job(clips[1], 2, final=False)
    assert backend.capacity(partial) == 3  # a final at work is no hindrance here
    backend.submit([job(clips[1], 3)])
    backend.step()
    assert backend.capacity(partial) == 0
    assert backend.capacity(job(clips[1], 4)) == 2  # a slot is kept for the one in the encoder
    backend.submit([job(clips[2], 4)])
    backend.step()
    assert len(encoder.events) == before + 2
    backend.submit([job(clips[2], 5)])
    backend.step()
    assert len(encoder.events) == before + 2
    assert backend.active == 4
    assert backend.capacity(job(clips[2], 6)) == 0


def test_cancelled_jobs_leave_the_encoder(backend: TorchWhisper, clips: list[Pcm]) -> None:
    jobs = [job(clips[1], key) for key in (1, 2)]  # of one length: encoded together
    backend.submit(jobs)
    backend._begin()
    assert len(backend._listening) == 1
    backend.cancel(1)
    assert backend.active == 1
    assert backend._free == 3
    heard = drain(backend)
    assert [h.job.key for h in heard] == [2]
    backend.submit(jobs)
    backend._begin()
    backend.cancel(1)
    backend.cancel(2)
    assert backend.active == 0
    assert backend._free == 4
    assert backend.step() == []


def test_what_fails_in_the_encoder_fails_alone(
    backend: TorchWhisper,
    clips: list[Pcm],
    expected: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin(backend, clips[0], 0)

    def fail(mel: Tensor) -> Tensor:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(type(backend._model.encoder), "__call__", lambda _, mel: fail(mel))
        backend.submit([job(clips[1], 1)])
        failed = backend.step()
    assert [h.job.key for h in failed] == [1]
    assert isinstance(failed[0].error, AsrFailed)
    rest = drain(backend)
    assert [(h.job.key, h.tokens) for h in rest] == [(0, expected[0])]


def test_a_device_that_fails_while_it_encodes_fails_those_jobs(
    backend: TorchWhisper, clips: list[Pcm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked how far it is, and waited for."""
    for call in ("query", "synchronize"):
        if call == "query":
            begin(backend, clips[0], 0)
        backend.submit([job(clips[1], 1)])
        backend._begin()
        event = encoder_of(backend).events[-1]

        def fail() -> bool:
            raise RuntimeError("the device is lost")

        monkeypatch.setattr(event, call, fail)
        failed = backend.step()
        assert [(h.job.key, type(h.error)) for h in failed] == [(1, AsrFailed)]
        backend.cancel(0)
        assert backend.active == 0


def test_a_partial_is_the_draft_of_its_final(backend: TorchWhisper, clips: list[Pcm]) -> None:
    encoder_of(backend).quick = True
    partial = job(clips[0], 1, final=False)
    backend.submit([partial])
    text = drain(backend)[0].text
    backend.submit([replace(partial, is_final=True)])
    steps = 0
    while backend.active:
        heard = backend.step()
        steps += 1
    assert [h.text for h in heard] == [text]
    assert steps == 2  # into the encoder, and one pass
