"""What is spoken, and what the model alone makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.load import progress, speech, worker
from benchmarks.load.offline import offline_texts
from benchmarks.load.speech import Clip
from engine.errors import ConfigError


def test_without_a_corpus_the_embedded_phrases_are_spoken(
    phrases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTIPHON_SPEECH", raising=False)
    english, mixed = speech.load_english(), speech.load_mixed()
    assert {clip.language for clip in english} == {"en"}
    assert {clip.text for clip in english} >= {"Hello world."}
    assert len({clip.language for clip in mixed}) == 9
    assert all(clip.seconds > 0.5 for clip in mixed)
    assert "embedded" in speech.describe_source()


@pytest.mark.speech
def test_the_corpus_gives_short_english_and_many_languages(speech: Path) -> None:
    from benchmarks.load.speech import load_english, load_mixed

    english = load_english(limit=6)
    assert len(english) == 6
    assert all(2 <= clip.seconds <= 12.1 for clip in english)
    assert [clip.name for clip in english] == [clip.name for clip in load_english(limit=6)]
    assert len({clip.language for clip in load_mixed(limit=20)}) > 1


def test_a_corpus_without_its_list_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_SPEECH", str(tmp_path))
    with pytest.raises(ConfigError, match="holds no manifest"):
        speech.load_english()


def test_the_model_alone_hears_each_clip_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    clips = [Clip(name, name, "en", np.full(10, n, np.int16)) for n, name in enumerate("ab")]
    heard: list[str] = []

    def transcribe(clip: Clip) -> str:
        heard.append(clip.name)
        return f"text of {clip.name}"

    assert offline_texts(clips[:1], transcribe=transcribe) == ["text of a"]
    assert offline_texts(clips, transcribe=transcribe) == ["text of a", "text of b"]
    assert heard == ["a", "b"]
    stored = json.loads((tmp_path / "bench" / "offline-base.json").read_text())
    assert sorted(stored.values()) == ["text of a", "text of b"]


def test_progress_is_told_in_one_line() -> None:
    told = [worker.Progress(2, 5, 4, 0, [0.1, 0.3]), worker.Progress(1, 1, 1, 1, [])]
    assert progress.describe(told) == (
        "3 open, 5 of 6 turns answered, final text p50 0.20 s, p95 0.29 s, 1 errors"
    )
    assert progress.describe([]) == "0 open, 0 of 0 turns answered"
