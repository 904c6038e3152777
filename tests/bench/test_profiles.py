"""Plans: what every profile promises, for any number of sessions and any seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.load.profiles import PROFILES, SPEECH_SHARE, Playlist, Window
from benchmarks.load.run import Load, lengthened
from benchmarks.load.speech import Clip

WINDOW = Window(ramp_s=2.0, warmup_s=3.0, duration_s=40.0)
LENGTHS_S = np.random.default_rng(0).uniform(1.0, 8.0, 24)
CLIPS = [
    Clip(f"{n}", f"clip {n}", "en" if n % 3 else "fr", np.zeros(int(s * 16_000), np.int16))
    for n, s in enumerate(LENGTHS_S)
]
plans = given(profile=st.sampled_from(sorted(PROFILES)), sessions=st.integers(1, 20),
              seed=st.integers(0, 1000))  # fmt: skip


@plans
@settings(max_examples=60, deadline=None)
def test_every_profile_keeps_to_its_window(profile: str, sessions: int, seed: int) -> None:
    made = PROFILES[profile](sessions, WINDOW, CLIPS, seed)
    assert made == PROFILES[profile](sessions, WINDOW, CLIPS, seed)
    assert [plan.number for plan in made] == list(range(len(made)))
    assert len(made) >= sessions
    for plan in made:
        assert 0 <= plan.opens_at_s < WINDOW.until_s
        assert all(0 <= turn.clip < len(CLIPS) for turn in plan.turns)
        starts = [turn.start_s for turn in plan.turns if turn.start_s is not None]
        assert starts == sorted(starts)
        assert all(plan.opens_at_s <= start_s <= WINDOW.until_s for start_s in starts)


@given(sessions=st.integers(1, 20), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_continuous_speech_has_no_gaps(sessions: int, seed: int) -> None:
    for plan in PROFILES["continuous"](sessions, WINDOW, CLIPS, seed):
        starts = np.array([turn.start_s for turn in plan.turns])
        lengths = np.array([CLIPS[turn.clip].seconds for turn in plan.turns])
        np.testing.assert_allclose(starts[1:], (starts + lengths)[:-1])
        assert starts[-1] + lengths[-1] >= WINDOW.until_s
        assert starts[0] <= WINDOW.ramp_s + 0.3


def test_a_conversation_is_two_fifths_speech() -> None:
    turns = [turn for plan in PROFILES["conversation"](50, WINDOW, CLIPS, 1) for turn in plan.turns]
    assert all(turn.start_s is None for turn in turns)
    speech_s = sum(CLIPS[turn.clip].seconds for turn in turns)
    pauses_s = sum(turn.pause_s for turn in turns)
    assert speech_s / (speech_s + pauses_s) == pytest.approx(SPEECH_SHARE, abs=0.05)


def test_bursts_begin_together() -> None:
    made = PROFILES["bursty"](16, WINDOW, CLIPS, 1)
    begins = Counter(turn.start_s for plan in made for turn in plan.turns)
    assert set(begins.values()) == {4}
    assert len({plan.opens_at_s for plan in made}) == 4


def test_churn_keeps_its_places_busy_and_drops_some() -> None:
    made = PROFILES["churn"](8, WINDOW, CLIPS, 1)
    assert len(made) > 16
    dropped = [plan for plan in made if plan.leaving == "drop"]
    assert 0.1 < len(dropped) / len(made) < 0.5
    for plan in made:
        assert (plan.leaves_at_s is not None) == (plan.leaving == "drop")


def test_mixed_sessions_keep_one_language_each_and_differ_in_encoding_and_noise() -> None:
    made = PROFILES["mixed"](8, WINDOW, CLIPS, 1)
    assert {plan.encoding for plan in made} == {"pcm", "base64", "wav", "webm"}
    assert {plan.language for plan in made} == {None}
    for plan in made:
        assert len({CLIPS[turn.clip].language for turn in plan.turns}) == 1
    noises = [turn.noise_db for plan in made for turn in plan.turns]
    assert None in noises
    assert any(noise is not None for noise in noises)


def test_with_clips_enough_no_two_sessions_say_the_same_at_once() -> None:
    takes = [Playlist(CLIPS, 8, number, seed=1) for number in range(8)]
    for _ in range(30):
        assert len({playlist.take()[0] for playlist in takes}) == 8


@given(sessions=st.integers(1, 12), turns=st.integers(4, 8), seed=st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_few_sessions_are_measured_until_there_are_turns_enough(
    sessions: int, turns: int, seed: int
) -> None:
    load = Load(sessions, duration_s=5.0, seed=seed)
    longer = lengthened(load, CLIPS, turns)
    assert longer.duration_s >= load.duration_s
    assert lengthened(longer, CLIPS, turns) == longer
    made = PROFILES["continuous"](sessions, longer.window, CLIPS, seed)
    begun = sum(
        longer.window.measure_from_s <= turn.start_s <= longer.window.until_s
        for plan in made
        for turn in plan.turns
        if turn.start_s is not None
    )
    assert begun >= turns / 2  # clips differ in length, and so do chances
    assert lengthened(load, CLIPS, 0) == load


def test_with_pauses_it_takes_longer() -> None:
    talk = lengthened(Load(1, "conversation", duration_s=5.0), CLIPS, 6).duration_s
    assert talk > 2 * lengthened(Load(1, duration_s=5.0), CLIPS, 6).duration_s
