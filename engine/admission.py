"""Whether one session more can be served in time: an estimate from measured work. Pure.

Three things are measured: how long the speech model takes for a final alone, at start; how long the
finals of the last seconds took; and for how much of its time each open session speaks. With
``load`` for the share of its time that the model is busy, a final takes

    mean = service / (1 - load)

(M/M/1; L. Kleinrock, Queueing Systems, vol. 1, 1975, section 3.2). Load grows in proportion to the
seconds of speech that arrive in a second. The factor between them is the larger of two: the one
that the measurement at start gives, so that a crowd that arrives at once is not let in whole
before any of it has spoken, and the one that the measured mean gives for the sessions of now, which
knows of everything else that the machine does. Partials run in the time that is left and grow rarer
before anybody is refused.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

_SPEAKS = 0.8
"""The share of time for which a new session is taken to speak; its own share replaces it."""
_SPEAKS_KNOWN_S = 30.0
"""Age of a session at which its own share counts as much as that assumption."""
_P95_OVER_MEAN = 2.2
"""Of the time to a final, with 8 and 16 speakers without pause on two cores."""
_RECENT_S = 20.0
_RECENT_AT_LEAST = 8
_FULL = 0.97


class Admission:
    """Estimates the 95th percentile of the time from the end of speech to its final text.

    Any thread may call it. A ``target_s`` of 0 admits everybody.
    """

    def __init__(self, target_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.target_s = target_s
        self._clock = clock
        self._lock = threading.Lock()
        self._service_s = 0.0  # of a final alone
        self._load_per_speech = 0.0  # as measured at start
        self._sessions: dict[int, tuple[float, float]] = {}  # opened at, seconds spoken since
        self._finals: deque[tuple[float, float]] = deque()  # at, seconds that it took

    def calibrate(self, service_s: float, speech_s: float) -> None:
        """A final of ``speech_s`` of speech takes ``service_s`` while nothing else is done."""
        with self._lock:
            self._service_s = service_s
            self._load_per_speech = service_s / speech_s

    def opened(self, key: int) -> None:
        with self._lock:
            self._sessions[key] = (self._clock(), 0.0)

    def closed(self, key: int) -> None:
        with self._lock:
            self._sessions.pop(key, None)

    def finished(self, key: int, speech_s: float, latency_s: float) -> None:
        """A session's final of ``speech_s`` was there ``latency_s`` after it was asked for."""
        now = self._clock()
        with self._lock:
            self._finals.append((now, latency_s))
            if key in self._sessions:
                since, spoken = self._sessions[key]
                self._sessions[key] = (since, spoken + speech_s)

    def load(self, more: int = 0) -> float:
        """The share of its time for which the model is busy, with ``more`` new sessions."""
        with self._lock:
            now = self._clock()
            speaking = sum(self._speaks(now, *session) for session in self._sessions.values())
            factor = self._load_per_speech
            recent = self._recent(now)
            if recent and speaking:
                mean = sum(recent) / len(recent)
                factor = max(factor, (1 - self._service_s / mean) / speaking if mean else 0.0)
            return min(1.0, (speaking + more * _SPEAKS) * factor)

    def p95_s(self, more: int = 0) -> float:
        """The estimate in seconds, with ``more`` new sessions; infinite where it is too much."""
        load = self.load(more)
        if load >= _FULL:
            return math.inf
        with self._lock:
            recent = sorted(self._recent(self._clock()))
            estimate_s = _P95_OVER_MEAN * self._service_s / (1 - load)
        if not recent:
            return estimate_s
        return max(estimate_s, recent[math.ceil(0.95 * len(recent)) - 1])

    def has_room(self) -> bool:
        """Whether one more session can be served in time; the first always may try."""
        return not self.target_s or not self._sessions or self.p95_s(more=1) <= self.target_s

    @staticmethod
    def _speaks(now: float, since: float, spoken: float) -> float:
        """The share of time for which a session speaks, as far as it is known."""
        age = max(now - since, spoken)
        return (_SPEAKS * _SPEAKS_KNOWN_S + spoken) / (_SPEAKS_KNOWN_S + age)

    def _recent(self, now: float) -> list[float]:
        """What the last seconds' finals took; nothing where they are too few to tell."""
        while self._finals and self._finals[0][0] < now - _RECENT_S:
            self._finals.popleft()
        return [took for _, took in self._finals] if len(self._finals) >= _RECENT_AT_LEAST else []
