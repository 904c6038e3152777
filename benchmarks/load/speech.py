"""The speech that is played: the corpus named by ANTIPHON_SPEECH, or the embedded phrases."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError
from engine.models import find
from engine.types import SAMPLE_RATE
from server.audio_file import read_pcm
from server.sources import load as load_settings

_ENGLISH_SETS = ("librispeech", "ljspeech", "questions")
_SHORTEST_S, _LONGEST_S = 2.0, 12.0
_LONGEST_MIXED_S = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One utterance: ``pcm`` is int16 mono at 16 kHz."""

    name: str
    text: str
    language: str
    pcm: NDArray[np.int16]

    @property
    def seconds(self) -> float:
        return len(self.pcm) / SAMPLE_RATE


def load_english(limit: int = 64) -> list[Clip]:
    """English utterances of 2 to 12 s, at most ``limit`` of them, always the same."""
    folder = corpus_folder()
    if folder is None:
        return [clip for clip in _phrases() if clip.language == "en"]
    rows = [
        row
        for row in _manifest(folder)
        if row["audio"].split("/")[0] in _ENGLISH_SETS
        and row["lang"] == "en"
        and _SHORTEST_S <= row["seconds"] <= _LONGEST_S
    ]
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(rows))[:limit]
    return [_read(folder, rows[index]) for index in sorted(chosen)]


def load_mixed(limit: int = 64) -> list[Clip]:
    """Many languages and lengths, from a word or two to half a minute."""
    folder = corpus_folder()
    if folder is None:
        return list(_phrases())
    rows = [
        row
        for row in _manifest(folder)
        if row["audio"].split("/")[0] in (*_ENGLISH_SETS, "multilingual", "long")
        and row.get("text")
        and row["seconds"] <= _LONGEST_MIXED_S
    ]
    rng = np.random.default_rng(1)
    chosen = rng.permutation(len(rows))[:limit]
    return [_read(folder, rows[index]) for index in sorted(chosen)]


def describe_source() -> str:
    if corpus_folder() is None:
        return "the embedded spoken phrases (`antiphon models pull phrases`)"
    return "the speech corpus (LibriSpeech, LJ Speech, spoken questions)"


def corpus_folder() -> Path | None:
    folder = os.environ.get("ANTIPHON_SPEECH")
    if not folder:
        return None
    if not (Path(folder) / "manifest.jsonl").is_file():
        raise ConfigError(f"ANTIPHON_SPEECH: {folder} holds no manifest.jsonl")
    return Path(folder)


def _manifest(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "manifest.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line]


def _read(folder: Path, row: dict[str, Any]) -> Clip:
    name = str(row["audio"])
    pcm = np.frombuffer(b"".join(read_pcm(folder / name)), "<i2")
    return Clip(name, str(row["text"]), str(row["lang"]), pcm)


def _phrases() -> Iterator[Clip]:
    model = find("phrases")
    home = load_settings({}, os.environ).home
    if not model.is_pulled(home):
        raise ConfigError("run `antiphon models pull phrases`, or set ANTIPHON_SPEECH")
    for path in sorted(model.folder(home).rglob("*.wav")):
        pcm = np.frombuffer(b"".join(read_pcm(path)), "<i2")
        text = path.with_suffix(".txt").read_text("utf-8").strip()
        yield Clip(f"{path.parent.name}/{path.name}", text, path.parent.name, pcm)
