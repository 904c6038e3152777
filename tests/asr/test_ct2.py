"""Whisper on CTranslate2 with the real model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from spoken import read, said

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.ct2 import CTranslate2Whisper
from engine.asr.vocabulary import Vocabulary
from engine.asr.words import words_of
from engine.errors import AsrFailed, ModelError
from engine.types import Pcm

pytestmark = pytest.mark.models

NAMES = ["en/counting", "en/quick_brown_fox", "es/conteo", "fr/comptage", "en/hello_world"]


@pytest.fixture(scope="module")
def backend(whisper_base: Path) -> Iterator[CTranslate2Whisper]:
    made = CTranslate2Whisper(whisper_base, compute_type="float32", threads=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def clips(phrases: Path) -> dict[str, Pcm]:
    return {name: read(phrases, name) for name in NAMES}


def run(backend: CTranslate2Whisper, *jobs: AsrJob) -> list[Hypothesis]:
    backend.submit(jobs)
    results = backend.step()
    by_job = {id(h.job): h for h in results}
    return [by_job[id(j)] for j in jobs]


def job(pcm: Pcm, key: int = 1, **options: object) -> AsrJob:
    return replace(AsrJob(key, 0, 0, pcm, is_final=True), **options)


def test_a_batch_of_languages_and_prompts_equals_each_alone(
    backend: CTranslate2Whisper, clips: dict[str, Pcm]
) -> None:
    jobs = [job(pcm, key) for key, pcm in enumerate(clips.values())]
    jobs[1] = replace(jobs[1], language="en", prompt="fox, dog")
    jobs[4] = replace(jobs[4], language="en", context=" Programmers say:")
    together = run(backend, *jobs)
    alone = [run(backend, each)[0] for each in jobs]
    assert [h.tokens for h in together] == [h.tokens for h in alone]
    assert [h.language for h in together] == ["en", "en", "es", "fr", "en"]
    assert "brown fox" in together[1].text
    assert said(together[2].text) >= {"cuatro", "cinco"} or "4" in together[2].text


def test_forced_tokens_stay(backend: CTranslate2Whisper, clips: dict[str, Pcm]) -> None:
    free = run(backend, job(clips["en/quick_brown_fox"], language="en"))[0]
    prefix = free.tokens[:3]
    forced = run(backend, job(clips["en/quick_brown_fox"], language="en", prefix=prefix))[0]
    assert forced.tokens == free.tokens
    assert forced.text == free.text


def test_a_clear_phrase_scores_well_and_noise_does_not_crash(
    backend: CTranslate2Whisper, clips: dict[str, Pcm]
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    clear, hiss = run(backend, job(clips["en/counting"], 1), job(noise, 2))
    assert clear.avg_logprob > -0.5
    assert clear.no_speech_prob < 0.2
    assert hiss.error is None


def test_a_bad_job_fails_alone_and_is_logged_with_its_session_and_turn(
    backend: CTranslate2Whisper, clips: dict[str, Pcm], caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = job(clips["en/hello_world"], 1), job(clips["en/hello_world"], 2, language="xx")
    good_result, bad_result = run(backend, good, bad)
    assert "hello" in said(good_result.text)
    assert isinstance(bad_result.error, AsrFailed)
    assert "session 2 turn 0: a segment" in caplog.text


def test_an_english_model_needs_no_language(whisper_tiny: Path, clips: dict[str, Pcm]) -> None:
    backend = CTranslate2Whisper(whisper_tiny, threads=2)
    heard = run(backend, job(clips["en/quick_brown_fox"]))[0]
    assert "fox" in said(heard.text)
    assert heard.language == "en"


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        CTranslate2Whisper(tmp_path)


def test_prompts(whisper_base: Path, whisper_tiny: Path) -> None:
    base, tiny = Vocabulary(whisper_base), Vocabulary(whisper_tiny)
    assert base.decode(base.prompt("fr")) == ""
    assert len(base.prompt("fr")) == 4
    assert len(tiny.prompt("en")) == 2
    assert {"en", "fr", "zh"} <= base.languages
    long = base.previous("alpha beta", " word" * 1000)
    assert len(long) <= 223
    assert base.decode(long).startswith(" alpha beta")
    assert base.decode(base.encode(" Grüße, 世界")) == " Grüße, 世界"


def test_words_are_timed_where_asked_for(
    backend: CTranslate2Whisper, clips: dict[str, Pcm]
) -> None:
    heard = run(backend, job(clips["en/quick_brown_fox"], language="en", align=True))[0]
    words = words_of(heard.tokens, heard.token_times, backend.decode)
    assert [w.text for w in words][-2:] == ["lazy", "dog."]
    starts = [w.start_s for w in words]
    assert starts == sorted(starts)
    assert words[-1].end_s <= heard.job.seconds


def test_a_translation_is_english(backend: CTranslate2Whisper, phrases: Path) -> None:
    french = read(phrases, "fr/bonjour_monde")
    heard = run(backend, job(french, language="fr", task="translate"))[0]
    assert "world" in said(heard.text)
