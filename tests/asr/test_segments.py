"""Whole segments through VAD, the slot and the model: nothing said is lost, in any language."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from spoken import read, read_clip, said

from benchmarks.joined import Listener
from benchmarks.load.words import compare
from engine.asr.backend import AsrBackend
from engine.types import SAMPLE_RATE, Pcm, SessionOptions, Transcript

pytestmark = pytest.mark.models

SENTENCES = {
    "en/quick_brown_fox": {"fox", "jumps", "lazy", "dog"},
    "fr/pangrama": {"vieux", "juge", "fume"},
}
TURNS = {
    "multilingual/fleurs-de-004.flac": "de",
    "librispeech/1998-15444-0001.flac": "en",
    "multilingual/fleurs-fr-004.flac": "fr",
    "multilingual/fleurs-es-006.flac": "es",
    "multilingual/fleurs-de-008.flac": "de",
}


@pytest.fixture(scope="module")
def listener(backend: AsrBackend) -> Listener:
    return Listener(backend)


def with_pauses(clips: Sequence[Pcm], seconds: float = 1.0) -> Pcm:
    pause = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    return np.concatenate([piece for clip in clips for piece in (clip, pause)])


def hear(listener: Listener, pcm: Pcm, **options: object) -> Transcript:
    (final,) = listener.hear(pcm, options=SessionOptions(**options))  # type: ignore[arg-type]
    return final


@pytest.mark.parametrize("partials", [False, True])
def test_a_sentence_said_three_times_comes_three_times(
    listener: Listener, phrases: Path, partials: bool
) -> None:
    pcm = with_pauses([read(phrases, "en/quick_brown_fox")] * 3)
    text = hear(listener, pcm, partials=partials).text.lower()
    assert text.count("fox") == text.count("lazy dog") == 3, text


@pytest.mark.parametrize("order", list(permutations(SENTENCES)))
def test_two_languages_in_one_segment_are_both_heard(
    listener: Listener, phrases: Path, order: tuple[str, str]
) -> None:
    pcm = with_pauses([read(phrases, name) for name in order])
    heard = said(hear(listener, pcm).text)
    for name in order:
        assert len(SENTENCES[name] & heard) >= 2, heard


@pytest.mark.speech
def test_each_turn_is_heard_in_its_own_language(listener: Listener, speech: Path) -> None:
    lines = map(json.loads, (speech / "manifest.jsonl").read_text().splitlines())
    texts = {line["audio"]: line["text"] for line in lines}
    clips = [read_clip(speech / name) for name in TURNS]
    together = listener.hear(*clips)
    assert [final.language for final in together] == list(TURNS.values())
    for final, clip, (name, language) in zip(together, clips, TURNS.items(), strict=True):
        given = hear(listener, clip, language=language)
        rates = [compare(texts[name], one.text, language).rate for one in (final, given)]
        assert rates[0] <= rates[1] + 0.06, (final.text, given.text)


def test_short_turns_keep_the_language_and_long_ones_change_it(
    listener: Listener, phrases: Path
) -> None:
    names = ["fr/comptage", "en/hello_world", "es/conteo", "it/ciao_mondo", "en/counting"]
    finals = listener.hear(*(read(phrases, name) for name in names))
    assert [final.language for final in finals] == ["fr", "fr", "es", "es", "en"]


def test_only_listed_languages_are_heard(listener: Listener, phrases: Path) -> None:
    pcm = read(phrases, "es/conteo")
    assert hear(listener, pcm).language == "es"
    assert hear(listener, pcm, languages=("it", "en")).language in ("it", "en")
