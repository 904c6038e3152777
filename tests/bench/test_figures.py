"""From records to figures, where the right answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.load import figures
from benchmarks.load.profiles import Window
from benchmarks.load.records import SessionRecord, TurnRecord
from benchmarks.load.speech import Clip
from benchmarks.load.words import Errors, compare

WINDOW = Window(ramp_s=1.0, warmup_s=1.0, duration_s=20.0)
CLIPS = [Clip("a", "red green blue black", "en", np.zeros(32_000, np.int16))]


def turn(end_s: float, latency_s: float | None, **more: object) -> TurnRecord:
    final_s = None if latency_s is None else end_s + latency_s
    record = TurnRecord(0, 0, end_s - 2.0, end_s, final_s=final_s, sent=True)
    for name, value in more.items():
        setattr(record, name, value)
    return record


def session(*turns: TurnRecord, **more: object) -> SessionRecord:
    record = SessionRecord(0, opened_s=0.0, closed_s=30.0, turns=list(turns))
    for name, value in more.items():
        setattr(record, name, value)
    return record


def test_only_the_measured_window_counts() -> None:
    one = session(turn(1.5, 0.1), turn(5.0, 0.2), turn(21.9, 0.3), turn(22.5, 0.4))
    measured = figures.select([one], WINDOW)
    assert figures.final_series(measured) == [[5.0, 0.2, 0], [21.9, 0.3, 0]]


def test_a_turn_without_its_text_counts_with_the_time_it_was_waited_for() -> None:
    measured = figures.select([session(turn(5.0, None))], WINDOW)
    assert figures.latencies(measured, {})["final_s"]["max"] == 25.0


def test_from_the_end_of_the_voice_it_is_longer_by_the_silence_after_it() -> None:
    measured = figures.select([session(turn(5.0, 0.2), turn(9.0, 0.0))], WINDOW)
    found = figures.latencies(measured, {0: 0.5})
    assert found["after_voice_s"]["max"] == pytest.approx(0.7)
    assert found["silence_s"]["p50"] == 0.5
    assert found["final_s"]["max"] == pytest.approx(0.2)


def test_what_a_dropped_session_left_behind_counts_for_nothing() -> None:
    measured = figures.select([session(turn(5.0, None), dropped=True)], WINDOW)
    assert figures.latencies(measured, {})["final_s"] == {"count": 0}


@pytest.mark.parametrize("slope", [-0.02, 0.0, 0.05])
def test_lag_is_the_slope_and_outliers_do_not_bend_it(slope: float) -> None:
    ends = np.linspace(2.5, 21.5, 40)
    turns = [turn(end, 0.5 + slope * end + (8.0 if index % 10 == 0 else 0.0))
             for index, end in enumerate(ends)]  # fmt: skip
    lag = figures.lag(figures.select([session(*turns)], WINDOW), WINDOW)
    assert lag["slope_s_per_min"] == pytest.approx(60 * slope, abs=0.05)
    assert lag["growth_s"] == pytest.approx(20 * slope, abs=0.02)


def test_three_turns_are_no_trend() -> None:
    turns = [turn(3.0, 0.1), turn(4.0, 1.0), turn(5.0, 2.0)]
    assert figures.lag(figures.select([session(*turns)], WINDOW), WINDOW)["growth_s"] == 0.0


def test_words_are_held_against_the_reference_and_against_the_model_alone() -> None:
    heard = session(
        turn(5.0, 0.1, text="Red, green, blue, black!"), turn(9.0, 0.1, text="red green")
    )
    words = figures.word_errors(figures.select([heard], WINDOW), CLIPS, {0: "red green blue"})
    assert words == {"words": 8, "errors": 2, "percent": 25.0, "offline_errors": 2,
                     "offline_percent": 25.0, "difference_se": math.sqrt(2)}  # fmt: skip


def test_a_clip_that_is_wrong_each_time_in_the_same_way_tells_no_more_than_once() -> None:
    heard = session(*(turn(ends_s, 0.1, text="red green blue") for ends_s in (5.0, 7.0, 9.0)))
    words = figures.word_errors(figures.select([heard], WINDOW), CLIPS, {0: "red green blue black"})
    assert words["difference_se"] == 3.0


def test_words_said_in_noise_are_not_held_against_the_model_that_heard_none() -> None:
    heard = session(turn(5.0, 0.1, text="red"), turn(9.0, 0.1, text="red green blue black"))
    heard.turns[0].noisy = True
    words = figures.word_errors(figures.select([heard], WINDOW), CLIPS, {0: ""})
    assert (words["words"], words["errors"]) == (4, 0)


@pytest.mark.parametrize(
    ("reference", "heard", "language", "expected"),
    [
        ("Mr. Smith won't colour it", "mister smith will not color it", "en", Errors(0, 6)),
        ("red green", "", "en", Errors(2, 2)),
        ("", "one", "en", Errors(1, 0)),
        ("你好世界", "你好是界", "zh", Errors(1, 4)),
        ("être là", "être la", "fr", Errors(1, 2)),
    ],
)
def test_words_are_compared_as_whispers_own_evaluation_does(
    reference: str, heard: str, language: str, expected: Errors
) -> None:
    assert compare(reference, heard, language) == expected


def test_what_a_dropped_session_said_last_is_no_word_error() -> None:
    gone = session(turn(5.0, None), turn(4.0, 0.1, text="red green blue black"), dropped=True)
    words = figures.word_errors(figures.select([gone], WINDOW), CLIPS, {0: ""})
    assert (words["words"], words["errors"]) == (4, 0)


def test_speech_at_once_counts_only_what_lies_in_the_window() -> None:
    turns = [turn(3.0, 0.1), turn(10.0, 0.1), turn(23.0, 0.1), turn(40.0, 0.1)]
    speech = figures.speech(figures.select([session(*turns)], WINDOW), CLIPS, WINDOW)
    assert speech["inside_s"] == pytest.approx(1.0 + 2.0 + 1.0)
    assert speech["at_once"] == pytest.approx(0.2)
    assert speech["turns"] == 2
