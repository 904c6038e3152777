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
    assert [said(h.text) for h in together] == [
        {"hello", "world"},
        {"bonjour", "le", "monde"},
        {"ciao", "mondo"},
        {"hello", "world"},
    ]


def _texts(speech: Path) -> dict[str, str]:
    lines = map(json.loads, (speech / "manifest.jsonl").read_text().splitlines())
    return {line["audio"]: line["text"] for line in lines if line.get("text")}
