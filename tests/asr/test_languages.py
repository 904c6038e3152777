"""Several languages and tasks in one batch: detected, transcribed or translated, each by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from spoken import hear, read, read_clip, said

from benchmarks.load.words import compare
from engine.asr.backend import AsrBackend, AsrJob, Hypothesis

pytestmark = pytest.mark.models

CLIPS = {
    "multilingual/fleurs-de-004.flac": "de",
    "multilingual/fleurs-es-006.flac": "es",
    "multilingual/fleurs-fr-004.flac": "fr",
    "multilingual/leopard_test_pt.flac": "pt",
    "librispeech/1998-15444-0001.flac": "en",
}


def together_and_alone(
    backend: AsrBackend, jobs: list[AsrJob]
) -> tuple[list[Hypothesis], list[Hypothesis]]:
    together = hear(backend, *jobs)
    for job in jobs:
        backend.cancel(job.key)  # and the drafts with it
    return together, [hear(backend, job)[0] for job in jobs]


@pytest.mark.speech
def test_speakers_of_five_languages_in_one_batch(backend: AsrBackend, speech: Path) -> None:
    texts = _texts(speech)
    jobs = [
        AsrJob(key, 0, 0, read_clip(speech / clip), is_final=True) for key, clip in enumerate(CLIPS)
    ]
    together, alone = together_and_alone(backend, jobs)
    assert [h.language for h in together] == list(CLIPS.values())
    assert [h.tokens for h in together] == [h.tokens for h in alone]
    for heard, clip in zip(together, CLIPS, strict=True):
        assert compare(texts[clip], heard.text, CLIPS[clip]).rate < 0.4, heard.text


def test_one_is_translated_and_another_is_not(backend: AsrBackend, phrases: Path) -> None:
    french, italian = read(phrases, "fr/bonjour_monde"), read(phrases, "it/ciao_mondo")
    jobs = [
        AsrJob(0, 0, 0, french, is_final=True, task="translate"),
        AsrJob(1, 0, 0, french, is_final=True),
        AsrJob(2, 0, 0, italian, is_final=True, language="it"),
        AsrJob(3, 0, 0, read(phrases, "zh/nihao_shijie"), is_final=True, task="translate"),
    ]
    together, alone = together_and_alone(backend, jobs)
    assert [h.language for h in together] == ["fr", "fr", "it", "zh"]
    assert [h.tokens for h in together] == [h.tokens for h in alone]
    # "le monde" may keep its article
    assert [said(h.text) - {"the"} for h in together] == [
        {"hello", "world"},
        {"bonjour", "le", "monde"},
        {"ciao", "mondo"},
        {"hello", "world"},
    ]


def test_a_detected_language_is_told_with_its_probability(
    backend: AsrBackend, phrases: Path
) -> None:
    spanish = read(phrases, "es/conteo")
    jobs = [
        AsrJob(0, 0, 0, spanish, is_final=True),
        AsrJob(1, 0, 0, spanish, is_final=True, language="es"),
        AsrJob(2, 0, 0, spanish, is_final=True, languages=("it", "en")),
        AsrJob(3, 0, 0, spanish, is_final=True, last_language="en", context=" One two."),
    ]
    free, given, listed, changed = hear(backend, *jobs)
    assert [h.language for h in (free, given, changed)] == ["es"] * 3
    assert listed.language in ("it", "en")
    assert given.language_probability is None
    for heard in (free, listed, changed):
        assert heard.language_probability is not None
        assert 0.5 <= heard.language_probability <= 1
    assert changed.tokens == free.tokens  # text in another language is no context


def test_a_list_of_unknown_languages_fails_its_job_alone(
    backend: AsrBackend, phrases: Path
) -> None:
    pcm = read(phrases, "en/hello_world")
    unknown, known = hear(
        backend,
        AsrJob(0, 0, 0, pcm, is_final=True, languages=("xx", "yy")),
        AsrJob(1, 0, 0, pcm, is_final=True, languages=("xx", "en")),
    )
    assert "none of the languages xx, yy" in str(unknown.error)
    assert known.language == "en"


def _texts(speech: Path) -> dict[str, str]:
    lines = map(json.loads, (speech / "manifest.jsonl").read_text().splitlines())
    return {line["audio"]: line["text"] for line in lines if line.get("text")}
