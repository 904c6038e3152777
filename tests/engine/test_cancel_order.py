"""A cancel may overtake its own segment's end, which waits behind audio: nobody goes deaf."""

from __future__ import annotations

import pytest
from lane_pair import Pair, SteppedModel, loud, quiet

from engine.types import SessionOptions, Transcript

models = pytest.mark.parametrize("drops", [True, False], ids=["torch", "ctranslate2"])


def say_three_more(pair: Pair) -> list[int]:
    pair.model.at_once = True
    for _ in range(3):
        pair.say(1, loud(2), quiet(0.3))
        pair.end(1)
        pair.run()
    return pair.answers(1)


@models
def test_a_cancel_right_behind_the_end_while_a_guess_is_decoded(drops: bool) -> None:
    pair = Pair(SteppedModel(drops))
    pair.open(1)
    pair.say(1, loud(2), quiet(0.3))
    pair.run()
    assert pair.model.jobs, "a guess is being decoded"
    pair.end(1)
    pair.cancel(1, 0)
    pair.run()
    assert say_three_more(pair) == [1, 2, 3]
    assert pair.asr.idle


@models
def test_a_cancel_right_behind_the_end_while_an_earlier_window_is_decoded(drops: bool) -> None:
    pair = Pair(SteppedModel(drops))
    pair.open(1)
    pair.say(1, loud(35))
    pair.run()
    assert any(job.is_final for job in pair.model.jobs)
    pair.say(1, loud(1))
    pair.end(1)
    pair.cancel(1, 0)
    pair.run()
    assert say_three_more(pair) == [1, 2, 3]
    assert pair.asr.lag_s == 0


@models
def test_a_cancel_of_a_turn_whose_audio_is_held_back(drops: bool) -> None:
    """Under load much of a turn waits in its slot: it is dropped there, and the next is heard."""
    pair = Pair(SteppedModel(drops), window_s=5, max_buffered_s=5)
    pair.open(1)
    pair.say(1, loud(30))
    pair.end(1)
    pair.say(1, loud(2))
    pair.end(1)
    pair.run()
    assert pair.speech._slots[1].blocked
    pair.cancel(1, 0)
    pair.run()
    assert {job.turn_id for job in pair.asr._submitted.values()} == {1}
    assert say_three_more(pair) == [1, 2, 3, 4]


def test_of_two_ends_that_wait_the_later_can_be_cancelled() -> None:
    pair = Pair(SteppedModel(drops=True))
    pair.open(1)
    for _ in range(3):
        pair.say(1, loud(1))
        pair.end(1)
    pair.cancel(1, 1)
    pair.model.at_once = True
    pair.run()
    assert pair.answers(1) == [0, 2]
    assert pair.speech._slots[1]._cancelled == set()


def test_a_cancel_of_a_turn_that_has_not_ended_or_is_answered_does_nothing() -> None:
    pair = Pair(SteppedModel(drops=True))
    pair.model.at_once = True
    pair.open(1)
    pair.say(1, loud(1))
    pair.cancel(1, 0)
    pair.end(1)
    pair.run()
    assert pair.answers(1) == [0]
    pair.cancel(1, 0)
    pair.say(1, loud(1))
    pair.end(1)
    pair.run()
    assert pair.answers(1) == [0, 1]


def test_no_partial_of_a_cancelled_turn_is_told() -> None:
    """Its audio goes on coming, and a backend may return what was cancelled."""
    pair = Pair(SteppedModel(drops=False))
    pair.open(1, SessionOptions(partials=True))
    pair.say(1, loud(1))
    pair.run()
    assert pair.model.jobs
    pair.say(1, loud(40))
    pair.end(1)
    pair.cancel(1, 0)
    pair.speech_step()
    pair.model.at_once = True
    pair.run(60)
    assert [event for event in pair.events if isinstance(event, Transcript)] == []


@models
def test_what_is_cancelled_is_not_tried_again(drops: bool) -> None:
    """A cancelled final that comes back late and poor would be decoded three times more."""
    pair = Pair(SteppedModel(drops))
    pair.open(1)
    pair.say(1, loud(2))
    pair.end(1)
    pair.run()
    pair.cancel(1, 0)
    pair.run()
    pair.model.let_go(outcome="poor")
    pair.run()
    assert pair.model.jobs == []
    assert pair.asr.idle


@models
def test_a_guess_that_runs_is_promoted_in_the_model(drops: bool) -> None:
    pair = Pair(SteppedModel(drops))
    pair.open(1)
    pair.say(1, loud(2), quiet(0.3))
    pair.run()
    (guess,) = pair.model.jobs
    assert not guess.is_final
    assert pair.asr.lag_s == 0
    pair.now = 3.0
    pair.end(1)
    pair.run()
    assert [(job.number, job.is_final) for job in pair.model.promoted] == [(guess.number, True)]
    pair.now = 5.0
    assert pair.asr.lag_s == 2.0  # since the end, not since the guess
    pair.model.let_go(outcome="poor")
    pair.run()
    (again,) = pair.model.jobs
    assert (again.is_final, again.full_context) == (True, True)
    assert say_three_more(pair) == [0, 1, 2, 3]
