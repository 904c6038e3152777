"""Where speech starts and stops, decided from one probability per 32 ms frame.

Two thresholds (hysteresis, as in Silero's own iterator): a frame at or above ``threshold`` is
speech; speech goes on until frames stay below ``exit_threshold`` for a minimum of silence. A
sound becomes speech only when it has lasted a minimum, so a click starts nothing. Pure: no I/O,
no clock but the count of frames.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.config import EngineSettings
from engine.types import SAMPLE_RATE

FRAME_SAMPLES = 512


@dataclass(frozen=True, slots=True)
class EndpointerConfig:
    """Thresholds are probabilities; lengths are samples at 16 kHz.

    min_speech_samples: shorter sounds never start speech. min_silence_samples: a shorter pause
    belongs to the speech around it. padding_samples: audio kept before and after speech.
    """

    threshold: float = 0.5
    exit_threshold: float = 0.35
    min_speech_samples: int = 3_072
    min_silence_samples: int = 8_000
    padding_samples: int = 4_800

    @classmethod
    def of(cls, settings: EngineSettings) -> EndpointerConfig:
        per_ms = SAMPLE_RATE // 1000
        return cls(
            threshold=settings.vad_threshold,
            exit_threshold=max(settings.vad_threshold - 0.15, settings.vad_threshold / 2),
            min_speech_samples=settings.vad_min_speech_ms * per_ms,
            min_silence_samples=settings.vad_min_silence_ms * per_ms,
            padding_samples=settings.vad_padding_ms * per_ms,
        )

    def __post_init__(self) -> None:
        assert 0 < self.exit_threshold <= self.threshold < 1
        assert self.min_speech_samples > 0
        assert self.min_silence_samples > 0
        assert self.padding_samples >= 0


@dataclass(frozen=True, slots=True)
class Started:
    """Speech has begun at ``at_sample``, padding included."""

    at_sample: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Speech lay in ``[start_sample, at_sample)``, padding included; it is over.

    ``speech_end_sample`` is where the last frame of speech itself ended.
    """

    start_sample: int
    at_sample: int
    speech_end_sample: int


class Endpointer:
    """The speech of one slot. Samples count from the last ``reset``.

    Spans that ``Stopped`` events name are ordered and disjoint.
    """

    def __init__(self, config: EndpointerConfig) -> None:
        self._config = config
        self.reset()

    def reset(self, at_sample: int = 0) -> None:
        """Forget everything; the next frame begins at ``at_sample``."""
        self._now = at_sample
        self._floor = at_sample  # where the last span ended: the next may not begin earlier
        self._onset: int | None = None  # first sample of the speech, or of what may become it
        self._speech_samples = 0
        self._speech_end = at_sample
        self._silence_from: int | None = None
        self.in_speech = False

    @property
    def now_sample(self) -> int:
        """The end of the last frame pushed."""
        return self._now

    @property
    def speech_start(self) -> int | None:
        """Where the present speech, or the sound that may become speech, starts with padding."""
        if self._onset is None:
            return None
        return max(self._floor, self._onset - self._config.padding_samples)

    @property
    def speech_end_sample(self) -> int:
        """The end of the last frame of speech, without padding."""
        return self._speech_end

    @property
    def keep_from_sample(self) -> int:
        """The earliest sample that a later span may still hold; older audio can go."""
        start = self.speech_start
        padded = self._now - self._config.padding_samples
        return max(self._floor, padded) if start is None else start

    def push(self, probability: float) -> Started | Stopped | None:
        """Take the next frame's speech probability; say what it changed."""
        frame_start = self._now
        self._now += FRAME_SAMPLES
        if probability >= self._config.threshold:
            return self._speech(frame_start)
        if self._onset is None:
            return None
        if self._silence_from is None:
            if probability >= self._config.exit_threshold:
                return self._speech(frame_start)
            self._silence_from = frame_start
        if self._now - self._silence_from < self._config.min_silence_samples:
            return None
        if self.in_speech:
            return self._stop()
        self._forget_onset()
        return None

    def flush(self) -> Stopped | None:
        """End the segment here, in the middle of a frame sequence or not.

        Speech that goes on is stopped. A sound still too young to be speech counts from half
        the minimum on: a short word cut off by the end of its segment must not be lost.
        """
        young = 2 * self._speech_samples >= self._config.min_speech_samples
        stopped = self._stop() if self.in_speech or (self._onset is not None and young) else None
        self._forget_onset()
        self._floor = self._now
        return stopped

    def _speech(self, frame_start: int) -> Started | None:
        if self._onset is None:
            self._onset = frame_start
        self._silence_from = None
        self._speech_samples += FRAME_SAMPLES
        self._speech_end = self._now
        if self.in_speech or self._speech_samples < self._config.min_speech_samples:
            return None
        self.in_speech = True
        start = self.speech_start
        assert start is not None
        return Started(start)

    def _stop(self) -> Stopped:
        start = self.speech_start
        assert start is not None
        end = min(self._speech_end + self._config.padding_samples, self._now)
        self._floor = end
        self._forget_onset()
        return Stopped(start, end, self._speech_end)

    def _forget_onset(self) -> None:
        self._onset = None
        self._silence_from = None
        self._speech_samples = 0
        self.in_speech = False
