"""What the model makes of each clip by itself, with all the time there is: the figure that a
server under load is held to. Texts are kept in the models' folder, since they never change."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from benchmarks.load.speech import Clip
from engine.models import resolve
from server.sources import load as load_settings

Transcribe = Callable[[Clip], str]


def offline_texts(
    clips: Sequence[Clip], model: str = "base", transcribe: Transcribe | None = None
) -> list[str]:
    """Greedy, int8, 30 s of context, with the clip's language told, by plain faster-whisper."""
    home = load_settings({}, os.environ).home
    store = _Store(home / "bench" / f"offline-{model}.json")
    missing = [clip for clip in clips if store.get(clip) is None]
    if missing:
        transcribe = transcribe or _faster_whisper(resolve(model, "asr", home))
        for clip in missing:
            store.put(clip, transcribe(clip))
        store.save()
    return [store.get(clip) or "" for clip in clips]


def _faster_whisper(folder: Path) -> Transcribe:
    from faster_whisper import WhisperModel

    whisper = WhisperModel(str(folder), device="cpu", compute_type="int8")

    def transcribe(clip: Clip) -> str:
        segments, _ = whisper.transcribe(
            clip.pcm.astype(np.float32) / 32768,
            language=clip.language,
            beam_size=1,
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


class _Store:
    """Texts by the hash of their samples, in one JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: dict[str, str] = {}
        if path.is_file():
            self._texts = json.loads(path.read_text("utf-8"))

    def get(self, clip: Clip) -> str | None:
        return self._texts.get(_key(clip))

    def put(self, clip: Clip, text: str) -> None:
        self._texts[_key(clip)] = text

    def save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._texts, indent=0, ensure_ascii=False), "utf-8")


def _key(clip: Clip) -> str:
    version = metadata.version("ctranslate2")
    return hashlib.sha256(f"{version} {clip.language} ".encode() + clip.pcm.tobytes()).hexdigest()
