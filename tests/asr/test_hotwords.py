"""Hotwords: names that Whisper misspells, spelt as the session asked, whatever runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from spoken import hear, read, read_clip, said

from engine.asr.backend import AsrBackend, AsrJob, Hypothesis
from engine.asr.vocabulary import MAX_PREVIOUS_TOKENS, Vocabulary
from engine.types import Pcm

pytestmark = pytest.mark.models

NAMES = [
    ("librispeech/1688-142285-0005.flac", "en", "Helstone"),
    ("librispeech/1998-15444-0009.flac", "en", "apomorphine"),
    ("ljspeech/LJ001-0031.flac", "en", "Sweynheim, Pannartz"),
    ("multilingual/fleurs-de-000.flac", "de", "Kowloon"),
]


@pytest.fixture(scope="module")
def vocabulary(whisper_base: Path) -> Vocabulary:
    return Vocabulary(whisper_base)


def job(pcm: Pcm, turn: int, language: str, hotwords: str = "") -> AsrJob:
    return AsrJob(1, turn, 0, pcm, is_final=True, language=language, hotwords=hotwords)


def with_and_without(backend: AsrBackend, pcm: Pcm, language: str, words: str) -> list[Hypothesis]:
    """One after the other, as two turns: neither is the other's draft."""
    jobs = [job(pcm, 0, language), job(pcm, 1, language, words)]
    return [hear(backend, each)[0] for each in jobs]


@pytest.mark.speech
@pytest.mark.parametrize(("clip", "language", "names"), NAMES)
def test_a_name_is_spelt_as_asked(
    backend: AsrBackend, speech: Path, clip: str, language: str, names: str
) -> None:
    without, told = with_and_without(backend, read_clip(speech / clip), language, names)
    assert not said(names) & said(without.text)
    assert said(names) <= said(told.text)
    assert told.avg_logprob > without.avg_logprob


def test_a_word_of_a_phrase_is_heard_as_asked(backend: AsrBackend, phrases: Path) -> None:
    pcm = read(phrases, "it/pangrama")
    without, told = with_and_without(backend, pcm, "it", "vituperabile")
    assert "vituperabile" not in said(without.text)
    assert "vituperabile" in said(told.text)


def test_what_nobody_said_is_not_heard(backend: AsrBackend, phrases: Path) -> None:
    pcm = read(phrases, "en/quick_brown_fox")
    without, told = with_and_without(backend, pcm, "en", "Helstone, Kowloon, Zarathustra")
    assert said(told.text) == said(without.text)


def test_a_row_of_a_batch_has_its_own(backend: AsrBackend, phrases: Path) -> None:
    """Hotwords, another prompt, neither: rows whose openings differ, decoded together."""
    italian, english = read(phrases, "it/pangrama"), read(phrases, "en/hello_world")
    jobs = [
        AsrJob(2, 0, 0, italian, True, language="it", hotwords="vituperabile"),
        AsrJob(3, 0, 0, english, True, language="en", prompt="A programmer's first words."),
        AsrJob(4, 0, 0, english, True, language="en"),
    ]
    together = hear(backend, *jobs)
    for each in jobs:
        backend.cancel(each.key)  # and the drafts with it
    assert [h.tokens for h in together] == [hear(backend, each)[0].tokens for each in jobs]
    assert "vituperabile" in said(together[0].text)


def test_hotwords_come_first_and_settled_text_keeps_its_half(vocabulary: Vocabulary) -> None:
    def text(prompt: str, context: str, hotwords: str) -> str:
        tokens = vocabulary.previous(prompt, context, hotwords)
        assert len(tokens) <= MAX_PREVIOUS_TOKENS
        return vocabulary.decode(tokens)

    assert (
        text("Once upon", " a time", "Kowloon, Helstone ") == " Kowloon, Helstone Once upon a time"
    )
    assert text("", "", "") == ""
    many, long = ", ".join(f"name {n}" for n in range(200)), " word" * 1000
    alone = vocabulary.previous("", "", many)
    assert len(alone) == MAX_PREVIOUS_TOKENS
    assert text("prompt", long, many).count(" word") == MAX_PREVIOUS_TOKENS // 2
    assert text("", long, "Kowloon").startswith(" Kowloon word")
    assert text("", long, "Kowloon").count(" word") > MAX_PREVIOUS_TOKENS - 8
