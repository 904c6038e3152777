"""Hums: what a mains transformer, a fan or an engine sounds like, made of sines."""

from __future__ import annotations

import numpy as np

from engine.types import SAMPLE_RATE, Pcm


def hum(
    hz: float, depth: float, modulated_hz: float, harmonics: int = 5, seconds: float = 4
) -> Pcm:
    """A tone with harmonics, its loudness modulated by ``depth`` (0 to 1), and a little noise."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, harmonics + 1))
    swell = 1 - depth * (0.5 - 0.5 * np.cos(2 * np.pi * modulated_hz * t))
    noise = np.random.default_rng(0).standard_normal(len(t))
    return np.asarray(0.3 * tone / np.abs(tone).max() * swell + 0.001 * noise, np.float32)
