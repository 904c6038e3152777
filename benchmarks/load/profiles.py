"""Who says what, and when: the plans of a run's sessions, from a seed and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.load.records import Encoding, SessionPlan, TurnPlan
from benchmarks.load.speech import Clip

SPEECH_SHARE = 0.4
"""Of a conversation, the part in which its person speaks."""
WITH_PAUSES = ("conversation", "mixed")
_CLUSTERS = 4
_CHURN_LIFE_S = (4.0, 15.0)
_CHURN_DROPS = 0.3


@dataclass(frozen=True, slots=True)
class Window:
    """Sessions open during the ramp, the warm-up passes, then it is measured."""

    ramp_s: float
    warmup_s: float
    duration_s: float

    @property
    def measure_from_s(self) -> float:
        return self.ramp_s + self.warmup_s

    @property
    def until_s(self) -> float:
        return self.measure_from_s + self.duration_s


class Playlist:
    """Each session's own order of clips: no two say the same thing at the same time, as far as
    there are clips enough."""

    def __init__(self, clips: Sequence[Clip], sessions: int, number: int, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(clips))
        start = number * len(clips) // max(sessions, 1)
        self._order = np.roll(order, -start)
        self._clips, self._next = clips, 0

    def take(self) -> tuple[int, float]:
        """The next clip's index and its length in seconds."""
        index = int(self._order[self._next % len(self._order)])
        self._next += 1
        return index, self._clips[index].seconds


Profile = Callable[[int, Window, Sequence[Clip], int], list[SessionPlan]]


def continuous(
    sessions: int, window: Window, clips: Sequence[Clip], seed: int
) -> list[SessionPlan]:
    """Every session speaks without pause; its first utterance begins at a random phase."""
    rng = np.random.default_rng(seed)
    plans = []
    for number in range(sessions):
        opens_s = _opening(number, sessions, window, rng)
        playlist = Playlist(clips, sessions, number, seed)
        turns = tuple(_back_to_back(playlist, opens_s + 0.3, window.until_s))
        plans.append(SessionPlan(number, opens_s, turns))
    return plans


def conversation(
    sessions: int, window: Window, clips: Sequence[Clip], seed: int
) -> list[SessionPlan]:
    """Turns with pauses, about 40 % speech; each waits for the reply to the one before."""
    rng = np.random.default_rng(seed)
    plans = []
    for number in range(sessions):
        opens_s = _opening(number, sessions, window, rng)
        playlist = Playlist(clips, sessions, number, seed)
        turns = tuple(_with_pauses(playlist, opens_s, window.until_s, rng))
        plans.append(SessionPlan(number, opens_s, turns))
    return plans


def bursty(sessions: int, window: Window, clips: Sequence[Clip], seed: int) -> list[SessionPlan]:
    """Arrivals cluster: a quarter of the sessions opens, and begins each turn, at one moment."""
    rng = np.random.default_rng(seed)
    clusters = min(_CLUSTERS, sessions)
    every_s = max(clip.seconds for clip in clips) + 1.0
    phases = np.sort(rng.uniform(0, every_s, clusters))
    plans = []
    for number in range(sessions):
        cluster = number % clusters
        opens_s = window.ramp_s * cluster / clusters
        playlist = Playlist(clips, sessions, number, seed)
        starts = np.arange(window.ramp_s + phases[cluster], window.until_s, every_s)
        turns = tuple(TurnPlan(playlist.take()[0], float(start)) for start in starts)
        plans.append(SessionPlan(number, opens_s, turns))
    return plans


def churn(sessions: int, window: Window, clips: Sequence[Clip], seed: int) -> list[SessionPlan]:
    """``sessions`` places; in each, one short session after another, a third of which is cut off
    in the middle without goodbye."""
    rng = np.random.default_rng(seed)
    plans: list[SessionPlan] = []
    for place in range(sessions):
        opens_s = _opening(place, sessions, window, rng)
        while opens_s < window.until_s:
            life_s = float(rng.uniform(*_CHURN_LIFE_S))
            playlist = Playlist(clips, sessions, len(plans), seed)
            ends_s = min(opens_s + life_s, window.until_s)
            turns = tuple(_back_to_back(playlist, opens_s + 0.3, ends_s))
            drops = bool(rng.random() < _CHURN_DROPS)
            plans.append(
                SessionPlan(
                    len(plans),
                    opens_s,
                    turns,
                    leaving="drop" if drops else "goodbye",
                    leaves_at_s=opens_s + life_s if drops else None,
                )
            )
            opens_s += life_s + float(rng.uniform(0.1, 1.0))
    return plans


def mixed(sessions: int, window: Window, clips: Sequence[Clip], seed: int) -> list[SessionPlan]:
    """Languages, lengths, encodings and noise, with pauses; the language is not told."""
    rng = np.random.default_rng(seed)
    encodings: tuple[Encoding, ...] = ("pcm", "base64", "wav", "webm")
    plans = []
    languages = sorted({clip.language for clip in clips})
    for number in range(sessions):
        own = [index for index, clip in enumerate(clips)
               if clip.language == languages[number % len(languages)]]  # fmt: skip
        opens_s = _opening(number, sessions, window, rng)
        playlist = Playlist([clips[index] for index in own], sessions, number, seed)
        turns = tuple(
            TurnPlan(
                own[turn.clip],
                pause_s=turn.pause_s,
                noise_db=float(rng.uniform(10, 25)) if rng.random() < 0.5 else None,
            )
            for turn in _with_pauses(playlist, opens_s, window.until_s, rng)
        )
        encoding = encodings[number % len(encodings)]
        plans.append(SessionPlan(number, opens_s, turns, encoding, language=None))
    return plans


PROFILES: dict[str, Profile] = {
    "continuous": continuous,
    "conversation": conversation,
    "bursty": bursty,
    "churn": churn,
    "mixed": mixed,
}


def _opening(number: int, sessions: int, window: Window, rng: np.random.Generator) -> float:
    """Spread evenly over the ramp, each at a random phase of its share."""
    return window.ramp_s * (number + float(rng.random())) / sessions


def _back_to_back(playlist: Playlist, start_s: float, until_s: float) -> Iterator[TurnPlan]:
    while start_s < until_s:
        clip, seconds = playlist.take()
        yield TurnPlan(clip, start_s)
        start_s += seconds


def _with_pauses(
    playlist: Playlist, opens_s: float, until_s: float, rng: np.random.Generator
) -> Iterator[TurnPlan]:
    """Enough turns to fill the time even if every reply came at once."""
    at_s, pause_s = opens_s, float(rng.uniform(0.2, 2.0))
    while at_s < until_s:
        clip, seconds = playlist.take()
        yield TurnPlan(clip, pause_s=pause_s)
        at_s += pause_s + seconds
        pause_s = seconds * (1 / SPEECH_SHARE - 1) * float(rng.uniform(0.6, 1.4))
