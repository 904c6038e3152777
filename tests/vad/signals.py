"""Sounds for the tests of voice activity detection."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper.audio import decode_audio

from engine.types import SAMPLE_RATE, Pcm

FRAME = 512


def voice_like(seconds: float, seed: int = 0) -> Pcm:
    """A pulse train of moving pitch through moving resonances, with pauses and noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch_hz = 140 + 40 * np.sin(2 * np.pi * 0.7 * t + seed)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE
    first_hz = 600 + 250 * np.sin(2 * np.pi * 2.1 * t)
    second_hz = 1500 + 500 * np.sin(2 * np.pi * 1.3 * t + 1)
    signal = np.zeros_like(t)
    for harmonic in range(1, 25):
        hz = harmonic * pitch_hz
        gain = np.exp(-(((hz - first_hz) / 150) ** 2)) + np.exp(-(((hz - second_hz) / 250) ** 2))
        signal += (gain + 0.02) * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * t), 0, 1) * (np.sin(2 * np.pi * 0.4 * t) > -0.3)
    noisy = 0.2 * signal * syllables + 0.003 * rng.standard_normal(len(t))
    return noisy.astype(np.float32)


def corpus(subset: str) -> list[tuple[Pcm, dict[str, Any]]]:
    """Clips of a set of the speech corpus with their manifest lines; none where it is absent."""
    root = os.environ.get("ANTIPHON_SPEECH")
    if not root:
        return []
    lines = map(json.loads, Path(root, "manifest.jsonl").read_text("utf-8").splitlines())
    wanted = [line for line in lines if line["audio"].startswith(f"{subset}/")]
    return [(decode_audio(str(Path(root, line["audio"])), SAMPLE_RATE), line) for line in wanted]


def as_frames(pcm: Pcm) -> Pcm:
    return pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
