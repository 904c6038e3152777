"""Where in each clip the voice ends: recordings go on for a moment after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.load.speech import Clip
from engine.types import SAMPLE_RATE
from engine.vad.silero import SileroVad
from kernels.silero import FRAME_SAMPLES

_VOICE = 0.5
"""Probability of speech, as Silero's own tools take it."""


def silences_s(clips: Sequence[Clip]) -> list[float]:
    """Seconds from the last 32 ms with a voice to the end of each clip; 0 without any voice."""
    if not clips:
        return []
    vad = SileroVad(len(clips))
    counts = np.array([len(clip.pcm) // FRAME_SAMPLES for clip in clips])
    last = np.zeros(len(clips), np.int64)
    for frame in range(counts.max()):
        slots = np.flatnonzero(counts > frame)
        start = frame * FRAME_SAMPLES
        heard = [clips[slot].pcm[start : start + FRAME_SAMPLES] for slot in slots]
        voice = vad.step(np.stack(heard).astype(np.float32) / 32768, slots) >= _VOICE
        last[slots[voice]] = frame + 1
    ends_s = last * FRAME_SAMPLES / SAMPLE_RATE
    return [
        float(clip.seconds - end_s) if end_s else 0.0
        for clip, end_s in zip(clips, ends_s, strict=True)
    ]
