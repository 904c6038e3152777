"""Phrases of known text, read from disk."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from engine.types import Pcm
from server.audio_file import read_pcm


def read(folder: Path, name: str) -> Pcm:
    """Mono float32 at 16 kHz of ``folder/name.wav``."""
    raw = b"".join(read_pcm(folder / f"{name}.wav"))
    return np.frombuffer(raw, "<i2").astype(np.float32) / 32768


def said(text: str) -> set[str]:
    """The words of a text, without case and punctuation."""
    return set(re.findall(r"\w+", text.lower()))
