"""From records to figures. Pure: no clock, no socket, no file."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.load.findings import Finding
from benchmarks.load.profiles import Window
from benchmarks.load.records import SessionRecord, TurnRecord
from benchmarks.load.speech import Clip
from benchmarks.load.words import Errors, compare

PERCENTILES = (50, 90, 95, 99)
_PAIRS_AT_MOST = 200_000
_TREND_TURNS = 12
"""Fewer show chance and no trend."""
_FEW_WORDS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """The turns that count: their speech ended inside the measured window."""

    sessions: Sequence[SessionRecord]
    turns: Sequence[tuple[SessionRecord, TurnRecord]]


def select(sessions: Sequence[SessionRecord], window: Window) -> Measured:
    """Leave out the warm-up and what ended when the load was already going down."""
    turns = [
        (session, turn)
        for session in sessions
        for turn in session.turns
        if window.measure_from_s <= turn.speech_end_s <= window.until_s
        and (turn.sent or not session.dropped)
    ]
    return Measured(sessions, turns)


def latencies(measured: Measured, silences_s: Mapping[int, float]) -> dict[str, dict[str, float]]:
    """Percentiles of each stage. Times count from the moment when a clip's last sample was due, so
    a late server cannot hide by being waited for; a turn without its final text counts with the
    time that it was waited for. ``after_voice_s`` counts from the end of the voice, which is
    ``silences_s`` (by clip) earlier."""
    turns = [turn for _, turn in measured.turns]
    final_s = [final_latency(session, turn) for session, turn in measured.turns]
    silence_s = [silences_s.get(turn.clip, 0.0) for turn in turns]
    return {
        "handshake_ms": percentiles([s.handshake_ms for s in measured.sessions]),
        "refused_ms": percentiles([s.refused_ms for s in measured.sessions]),
        "ack_ms": percentiles(list(itertools.chain(*(s.acks_ms for s in measured.sessions)))),
        "send_late_ms": percentiles(
            list(itertools.chain(*(s.send_late_ms for s in measured.sessions)))
        ),
        "first_partial_s": percentiles(_since_start(turns)),
        "final_s": percentiles(final_s),
        "after_voice_s": percentiles(
            [None if at is None else at + s for at, s in zip(final_s, silence_s, strict=True)]
        ),
        "silence_s": percentiles(silence_s),
        "first_token_s": percentiles(_since_end(turns, "first_token_s")),
        "response_s": percentiles(_since_end(turns, "response_s")),
    }


def final_latency(session: SessionRecord, turn: TurnRecord) -> float | None:
    """Seconds from the end of speech to the final text, or so far, if none came. A turn that was
    left out on purpose (no speech found, session dropped) has none."""
    if turn.final_s is not None:
        return turn.final_s - turn.speech_end_s
    if session.dropped or session.closed_s is None:
        return None
    return session.closed_s - turn.speech_end_s


def percentiles(values: Sequence[float | None]) -> dict[str, float]:
    known = [value for value in values if value is not None]
    if not known:
        return {"count": 0}
    found = {f"p{p}": float(np.percentile(known, p)) for p in PERCENTILES}
    return found | {"max": float(max(known)), "mean": float(np.mean(known)), "count": len(known)}


def lag(measured: Measured, window: Window) -> dict[str, float]:
    """How the time to the final text changes over the run: the median of the slopes between all
    pairs of turns (Theil 1950, Sen 1968), which a few slow turns do not bend."""
    points = [
        (turn.speech_end_s, latency)
        for session, turn in measured.turns
        if (latency := final_latency(session, turn)) is not None
    ]
    pairs = list(itertools.islice(itertools.combinations(sorted(points), 2), _PAIRS_AT_MOST))
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if b[0] > a[0]]
    slope = float(np.median(slopes)) if slopes else 0.0
    if len(points) < _TREND_TURNS:
        slope = 0.0
    return {"slope_s_per_min": slope * 60, "growth_s": slope * window.duration_s}


def word_errors(
    measured: Measured, clips: Sequence[Clip], offline: Mapping[int, str]
) -> dict[str, float]:
    """Of the measured turns without noise, and of the same clips, as often, by the model alone.

    ``offline`` is its text of each clip, by index. ``difference_se`` is the standard error, in
    words, of the difference between the two: other clips would have given another, and a clip that
    was said several times, always wrong in the same way, tells no more than once. A turn that
    differs by more than a few words counts there as if it were a few: that is no chance.
    """
    ours, alone = Errors(0, 0), Errors(0, 0)
    differences = []
    of_clips: Counter[int] = Counter()
    for session, turn in measured.turns:
        if turn.noisy or (session.dropped and turn.final_s is None):
            continue
        clip = clips[turn.clip]
        heard = compare(clip.text, turn.text, clip.language)
        expected = compare(clip.text, offline[turn.clip], clip.language)
        ours, alone = _add(ours, heard), _add(alone, expected)
        difference = max(-_FEW_WORDS, min(heard.errors - expected.errors, _FEW_WORDS))
        differences.append(difference)
        of_clips[turn.clip] += difference
    return {
        "words": ours.words,
        "errors": ours.errors,
        "percent": 100 * ours.rate,
        "offline_errors": alone.errors,
        "offline_percent": 100 * alone.rate,
        "difference_se": max(math.hypot(*differences), math.hypot(*of_clips.values())),
    }


def speech(measured: Measured, clips: Sequence[Clip], window: Window) -> dict[str, float]:
    """How much was said, and how often its text was told before it was final."""
    seconds = sum(clips[turn.clip].seconds for _, turn in measured.turns)
    inside = sum(_inside(turn, window) for one in measured.sessions for turn in one.turns)
    partials = sum(turn.partials for _, turn in measured.turns)
    return {
        "turns": len(measured.turns),
        "answered": sum(turn.final_s is not None for _, turn in measured.turns),
        "seconds": seconds,
        "inside_s": inside,
        "at_once": inside / window.duration_s,
        "partials": partials,
        "partials_per_s": partials / seconds if seconds else 0.0,
        "held_turns": sum(turn.held_s > 0 for _, turn in measured.turns),
        "held_max_s": max((turn.held_s for _, turn in measured.turns), default=0.0),
    }


def count(findings: Sequence[Finding]) -> dict[str, int]:
    return dict(Counter(finding.kind for finding in findings))


def errors_by_code(findings: Sequence[Finding]) -> dict[str, int]:
    """How often each error came: a code of the protocol, ``handshake`` or ``connection``."""
    return dict(Counter(one.detail.partition(":")[0] for one in findings if one.kind == "error"))


def final_series(measured: Measured) -> list[list[float]]:
    """``[seconds, latency in seconds, session]`` of each measured turn, in order of time."""
    return sorted(
        [round(turn.speech_end_s, 3), round(latency, 4), session.number]
        for session, turn in measured.turns
        if (latency := final_latency(session, turn)) is not None
    )


def of_sessions(
    measured: Measured, clips: Sequence[Clip], findings: Sequence[Finding]
) -> list[dict[str, Any]]:
    """A row of figures for each session."""
    rows = []
    for session in measured.sessions:
        turns = [turn for owner, turn in measured.turns if owner is session]
        errors = Errors(0, 0)
        for turn in turns:
            clip = clips[turn.clip]
            errors = _add(errors, compare(clip.text, turn.text, clip.language))
        finals = percentiles([final_latency(session, turn) for turn in turns])
        rows.append(
            {
                "session": session.number,
                "turns": len(turns),
                "handshake_ms": session.handshake_ms,
                "ack_p95_ms": percentiles(session.acks_ms).get("p95"),
                "final_p50_s": finals.get("p50"),
                "final_max_s": finals.get("max"),
                "partials": sum(turn.partials for turn in turns),
                "wer_percent": 100 * errors.rate,
                "findings": sum(one.session == session.number for one in findings),
            }
        )
    return rows


def _inside(turn: TurnRecord, window: Window) -> float:
    """Seconds of a turn's speech that lie in the measured window."""
    begin = max(turn.start_s, window.measure_from_s)
    return max(0.0, min(turn.speech_end_s, window.until_s) - begin)


def _add(a: Errors, b: Errors) -> Errors:
    return Errors(a.errors + b.errors, a.words + b.words)


def _since_end(turns: Sequence[TurnRecord], name: str) -> list[float | None]:
    return [None if (at := getattr(t, name)) is None else at - t.speech_end_s for t in turns]


def _since_start(turns: Sequence[TurnRecord]) -> list[float | None]:
    return [None if t.first_partial_s is None else t.first_partial_s - t.start_s for t in turns]
