"""The speech seam on torch: jobs in, hypotheses out, and nothing kept that should not be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY
from whisper_cases import read_phrase

from engine.asr.backend import AsrBackend, AsrJob, Hypothesis
from engine.errors import AsrFailed, ModelError
from engine.types import Pcm
from engine.whisper.backend import TorchWhisper

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def backend(whisper_tiny: Path) -> Iterator[TorchWhisper]:
    made = TorchWhisper(whisper_tiny, compute_type="float32", threads=1, slots=3)
    yield made
    made.close()


@pytest.fixture(scope="module")
def multilingual(whisper_base: Path) -> Iterator[TorchWhisper]:
    made = TorchWhisper(whisper_base, compute_type="float32", threads=1, slots=3)
    yield made
    made.close()


@pytest.fixture(scope="module")
def clips(english: dict[str, Pcm]) -> list[Pcm]:
    return list(english.values())


@pytest.fixture(autouse=True)
def _forget(backend: TorchWhisper) -> None:
    """No test sees another's drafts."""
    for key in range(10):
        backend.cancel(key, 0)


def job(pcm: Pcm, key: int = 1, **options: object) -> AsrJob:
    return replace(AsrJob(key, 0, 0, pcm, is_final=True), **options)


def run(backend: TorchWhisper, *jobs: AsrJob) -> list[Hypothesis]:
    backend.submit(jobs)
    results: list[Hypothesis] = []
    while backend.active:
        results += backend.step()
    by_job = {id(h.job): h for h in results}
    assert len(by_job) == len(results)
    return [by_job[id(j)] for j in jobs]


def passes_of(backend: TorchWhisper, *jobs: AsrJob) -> int:
    before = passes()
    run(backend, *jobs)
    return passes() - before


def passes() -> int:
    """Of the decoder, by all backends so far."""
    labels = {"stage": "asr_decode"}
    return int(REGISTRY.get_sample_value("antiphon_stage_seconds_count", labels) or 0)


def test_languages_together_equal_each_alone(multilingual: TorchWhisper, phrases: Path) -> None:
    seam: AsrBackend = multilingual
    clips = [read_phrase(phrases, name) for name in ("en/counting", "es/conteo", "fr/comptage")]
    assert seam.capacity(job(clips[0])) == 1
    jobs = [job(pcm, key) for key, pcm in enumerate(clips)]
    jobs[0] = replace(jobs[0], prompt="numbers", language="en")
    together = run(multilingual, *jobs)
    for key in range(3):
        multilingual.cancel(key, 0)
    alone = [run(multilingual, each)[0] for each in jobs]
    assert [h.language for h in together] == ["en", "es", "fr"]
    assert [h.tokens for h in together] == [h.tokens for h in alone]
    assert all(h.text == multilingual.decode(h.tokens) for h in together)


def test_the_last_hypothesis_is_the_draft_of_the_next(
    backend: TorchWhisper, clips: list[Pcm]
) -> None:
    partial = job(clips[0], language="en", is_final=False)
    assert passes_of(backend, partial) > 5
    assert passes_of(backend, replace(partial, is_final=True)) == 1
    other_window = replace(partial, window=1)
    assert passes_of(backend, other_window) > 5


def test_growing_audio_gives_the_text_of_the_whole(backend: TorchWhisper, clips: list[Pcm]) -> None:
    whole = run(backend, job(clips[0], 5, language="en"))[0]
    for share in (0.4, 0.7):
        part = clips[0][: int(len(clips[0]) * share)]
        run(backend, job(part, 6, language="en", is_final=False))
    grown = run(backend, job(clips[0], 6, language="en"))[0]
    assert grown.tokens == whole.tokens
    assert grown.avg_logprob == pytest.approx(whole.avg_logprob, abs=1e-4)


def test_a_prefix_stands(backend: TorchWhisper, clips: list[Pcm]) -> None:
    free = run(backend, job(clips[0], language="en"))[0]
    forced = run(backend, job(clips[0], language="en", prefix=free.tokens[:3]))[0]
    assert forced.tokens == free.tokens
    changed = run(backend, job(clips[0], language="en", prefix=(1, 2)))[0]
    assert changed.tokens[:2] == (1, 2)


def test_cancelled_jobs_do_not_come_back(backend: TorchWhisper, clips: list[Pcm]) -> None:
    jobs = [job(pcm, key, language="en") for key, pcm in enumerate([*clips, *clips])]
    backend.submit(jobs)
    assert backend.capacity(jobs[0]) == 0
    backend.step()
    for key in (0, 4):  # one at work, one that waits
        backend.cancel(key, 0)
    results: list[Hypothesis] = []
    while backend.active:
        results += backend.step()
    assert sorted(h.job.key for h in results) == [1, 2, 3, 5]
    assert backend.capacity(jobs[0]) == 1


def test_finals_go_first(backend: TorchWhisper, clips: list[Pcm]) -> None:
    partial = job(clips[0], 1, is_final=False, language="en")
    backend.submit([partial, job(clips[1], 2)])
    first: list[Hypothesis] = []
    while not first:
        first = backend.step()
    assert first[0].job.key == 2
    while backend.active:
        backend.step()


def test_partials_wait_while_a_final_is_encoded(backend: TorchWhisper, clips: list[Pcm]) -> None:
    """Also those that were being decoded: the encoder has all threads then."""
    backend.submit([job(clips[1], 2, is_final=False)])
    while not backend._running:
        backend.step()
    backend.submit([job(clips[0], 1)])
    backend.step()
    assert backend.capacity(job(clips[1], 3, is_final=False)) == 0
    assert backend.capacity(job(clips[1], 3)) == 1
    before = passes()
    while len(backend._running) == 1:
        backend.step()
    assert passes() == before + 1  # in the step in which the final joined
    backend.cancel(1)
    backend.cancel(2)
    assert backend.active == 0
    assert backend.capacity(job(clips[1], 3, is_final=False)) == 1


def test_a_final_overtakes_a_partial_in_the_encoder(
    backend: TorchWhisper, clips: list[Pcm]
) -> None:
    partial, final = job(clips[0], 1, is_final=False), job(clips[1], 2)
    backend.submit([partial])
    backend.step()
    assert backend.active == 1
    assert backend.capacity(replace(partial, key=3)) == 0
    assert backend.capacity(final) == 1
    backend.submit([final])
    order: list[int] = []
    while backend.active:
        order += [h.job.key for h in backend.step()]
    assert order == [2, 1]


def test_a_promoted_guess_goes_before_partials_wherever_it_is(
    backend: TorchWhisper, clips: list[Pcm]
) -> None:
    guess = job(clips[0], 1, is_final=False, stands_in=True)
    final = replace(guess, is_final=True)
    other = job(clips[1], 2, is_final=False)
    backend.submit([other, guess])  # it waits
    backend.promote(final)
    backend.step()
    assert backend._listening[0].left() == [final]
    assert backend._listening[0].encoding.urgent
    backend.cancel(1)
    backend.cancel(2)
    backend.submit([guess])
    backend.step()  # it is being encoded
    assert not backend._listening[0].encoding.urgent
    backend.promote(final)
    assert backend._listening[0].encoding.urgent
    while not backend._running:
        backend.step()
    assert list(backend._running.values()) == [final]


def test_a_promoted_guess_is_decoded_while_another_final_is_encoded(
    backend: TorchWhisper, clips: list[Pcm]
) -> None:
    """A partial's row would wait: see above."""
    guess = job(clips[1], 1, is_final=False, stands_in=True)
    backend.submit([guess])
    while not backend._running:
        backend.step()
    backend.submit([job(clips[0], 2)])
    backend.step()
    assert backend._at_rest
    backend.promote(replace(guess, is_final=True))
    assert not backend._at_rest
    heard: list[Hypothesis] = []
    while not heard:
        heard = backend.step()
    assert [(h.job.number, h.job.is_final) for h in heard] == [(guess.number, True)]
    backend.cancel(2)
    assert backend.active == 0


def test_a_partial_in_the_encoder_can_be_cancelled(backend: TorchWhisper, clips: list[Pcm]) -> None:
    backend.submit([job(clips[0], 1, is_final=False)])
    backend.step()
    backend.cancel(1)
    assert backend.active == 0
    assert backend.step() == []
    assert backend.capacity(job(clips[0], 2, is_final=False)) == 1


def test_a_bad_job_fails_alone_and_is_logged_with_its_session_and_turn(
    multilingual: TorchWhisper, clips: list[Pcm], caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = run(multilingual, job(clips[0], 1), job(clips[0], 2, language="xx"))
    assert good.error is None
    assert isinstance(bad.error, AsrFailed)
    assert "session 2 turn 0" in caplog.text
    assert multilingual.capacity(good.job) == 1


def test_a_hot_try_samples_and_is_repeatable(backend: TorchWhisper, clips: list[Pcm]) -> None:
    hot = job(clips[0], language="en", temperature=1.5, full_context=True)
    first, second = run(backend, hot)[0], run(backend, replace(hot))[0]
    other = run(backend, replace(hot, attempt=2))[0]
    assert first.tokens == second.tokens
    assert first.tokens != other.tokens


def test_silence_is_not_speech(multilingual: TorchWhisper) -> None:
    heard = run(multilingual, job(np.zeros(16_000, dtype=np.float32)))[0]
    assert heard.no_speech_prob > 0.5


def test_warm_up_leaves_nothing_behind(backend: TorchWhisper) -> None:
    backend.warmup()
    assert backend.active == 0


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.bin"):
        TorchWhisper(tmp_path)


def test_encoded_beside_the_decoder_the_texts_are_those_of_each_alone(
    backend: TorchWhisper, clips: list[Pcm]
) -> None:
    """Finals and partials of several lengths come in while others are decoded."""
    jobs = [job(pcm, key, is_final=key % 2 == 0) for key, pcm in enumerate(clips * 2)]
    waiting, heard = list(jobs), []
    while waiting or backend.active:
        room = backend.capacity(waiting[0]) if waiting else 0
        backend.submit(waiting[:room])
        del waiting[:room]
        heard += backend.step()
    for each in jobs:
        backend.cancel(each.key)
    alone = [run(backend, replace(each, key=9, turn_id=n))[0] for n, each in enumerate(jobs)]
    together = sorted(heard, key=lambda h: h.job.key)
    assert [h.tokens for h in together] == [h.tokens for h in alone]
