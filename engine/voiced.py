"""How sure VAD was of speech in the audio that is still held, frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from engine.types import Pcm
from engine.vad.endpointer import FRAME_SAMPLES

SPEECH_PROBABILITY = 0.5
_PERHAPS = 0.35  # the endpointer's exit threshold at its default


def speech_samples(frames: Pcm) -> int:
    """How much audio VAD took for speech, of frames with these probabilities."""
    return int((frames >= SPEECH_PROBABILITY).sum()) * FRAME_SAMPLES


def mean_voiced(frames: Pcm) -> float:
    """How sure VAD was of what it took for speech, of frames with these probabilities."""
    voiced = frames[frames >= _PERHAPS]
    return float(voiced.mean()) if len(voiced) else 0.0


class Voiced:
    """Speech probabilities of recent frames, by their place on the session's clock."""

    def __init__(self) -> None:
        self._frames: deque[tuple[int, float]] = deque()  # first sample, probability

    def add(self, end_sample: int, probability: float) -> None:
        """The frame that ends at ``end_sample``."""
        self._frames.append((end_sample - FRAME_SAMPLES, probability))

    def slice(self, start: int, end: int) -> Pcm:
        """The probabilities of frames that lie, at least by half, in ``[start, end)``."""
        half = FRAME_SAMPLES // 2
        return _array(p for first, p in self._frames if start <= first + half < end)

    def drop_before(self, sample: int) -> None:
        while self._frames and self._frames[0][0] + FRAME_SAMPLES <= sample:
            self._frames.popleft()

    def clear(self) -> None:
        """Forget every frame; the next may lie before the last, where padding was taken off."""
        self._frames.clear()


def _array(probabilities: Iterable[float]) -> Pcm:
    return np.fromiter(probabilities, np.float32)
