"""What speakers ask of the speech model, and when: partial transcripts while they speak, then a
final one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.asr.backend import AsrJob
from engine.types import SAMPLE_RATE, Pcm


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Speakers with utterances and pauses drawn from ``seed``, each from a random phase on.

    ``sound`` is what they are cut out of, longer than any utterance; without it they are silent.
    """

    speakers: int
    utterances_s: Sequence[float]
    partial_every_s: float
    seed: int = 1
    pauses_s: Sequence[float] = ()
    sound: Pcm | None = None
    language: str | None = None

    def jobs(self, until_s: float) -> list[AsrJob]:
        """In order of time, which begins at 0."""
        rng = np.random.default_rng(self.seed)
        jobs: list[AsrJob] = []
        for key in range(self.speakers):
            began_s, turn = -float(rng.uniform(0, max(self.utterances_s))), 0
            while began_s < until_s:
                length_s = float(rng.choice(self.utterances_s))
                jobs += self._utterance(key, turn, began_s, length_s)
                pause_s = float(rng.choice(self.pauses_s)) if self.pauses_s else 0.0
                began_s, turn = began_s + length_s + pause_s, turn + 1
        return sorted((job for job in jobs if 0 <= job.queued_at < until_s),
                      key=lambda job: job.queued_at)  # fmt: skip

    def _utterance(self, key: int, turn: int, began_s: float, length_s: float) -> list[AsrJob]:
        every_s = self.partial_every_s
        partials_s = [every_s * n for n in range(1, int(length_s / every_s) + 1)]
        moments_s = [*(at_s for at_s in partials_s if at_s < length_s), length_s]
        whole = self._pcm(key, turn, int(length_s * SAMPLE_RATE))
        return [
            AsrJob(
                key=key,
                turn_id=turn,
                window=0,
                pcm=whole[: int(seconds * SAMPLE_RATE)],
                is_final=seconds == length_s,
                until_sample=int(seconds * SAMPLE_RATE),
                language=self.language,
                queued_at=began_s + seconds,
            )
            for seconds in moments_s
        ]

    def _pcm(self, key: int, turn: int, samples: int) -> Pcm:
        """Of each utterance another piece of the sound, not copied."""
        if self.sound is None:
            return np.broadcast_to(np.float32(0), samples)
        first = (7919 * key + 104_729 * turn) % (len(self.sound) - samples)
        return self.sound[first : first + samples]
