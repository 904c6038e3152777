"""Which partial may stand for the final: one that was decoded as a final is."""

from __future__ import annotations

import pytest
from slot_bench import Bench

from engine.types import Assumed

FRAME_S = 0.032


def say_answering(bench: Bench, seconds: float) -> None:
    """Every partial comes back before more is heard."""
    for _ in range(round(seconds / FRAME_S)):
        bench.say(FRAME_S)
        while bench.jobs:
            bench.last = bench.answer(1, 2, 3)


@pytest.mark.parametrize("frames", range(31, 125))
def test_at_whatever_length_a_turn_ends_its_final_was_decoded_as_one(frames: int) -> None:
    """Released with the last word, as with push-to-talk: the last partial may have heard it all."""
    bench = Bench(partials=True)
    bench.idle = False
    say_answering(bench, frames * FRAME_S)
    bench.end()
    job = bench.answer(1, 2, 3) if bench.jobs else bench.last
    assert len(bench.finals()) == 1
    assert job.is_final or job.stands_in


def test_a_long_window_is_checked_for_what_whisper_left_out() -> None:
    bench = Bench(partials=True)
    bench.idle = False
    while (
        bench.now < 13
        or not bench.last
        or bench.last.until_sample != bench.slot._endpointer.speech_end_sample
    ):
        say_answering(bench, FRAME_S)
    assert not bench.last.align
    bench.end()
    job = bench.answer(1)
    assert job.is_final
    assert job.align


def test_in_a_pause_a_fit_guess_follows_a_partial_that_heard_it_all() -> None:
    """So that nothing is left to do at the end; and before it, nothing is assumed."""
    bench = Bench(partials=True)
    while not bench.jobs:
        bench.say(FRAME_S)
    partial = bench.answer(1, 2)
    bench.pause(0.3)
    (guess,) = bench.jobs
    assert guess.until_sample == partial.until_sample
    assert guess.stands_in
    assert [event for event in bench.events if isinstance(event, Assumed)] == []
    bench.answer(1, 3)
    bench.pause(0.1)
    assert bench.jobs == []
    bench.end()
    assert bench.finals() == ["one three"]


def test_a_partial_that_comes_late_does_not_stand_for_the_final_that_was_asked() -> None:
    bench = Bench(partials=True)
    bench.idle = False
    while not bench.jobs:
        bench.say(FRAME_S)
    late = bench.jobs.pop()
    bench.end()
    final = bench.jobs.pop()
    assert final.until_sample == late.until_sample
    bench.jobs = [late, final]
    bench.answer(7)
    assert bench.finals() == []
    bench.answer(8)
    assert bench.finals() == ["eight"]


def test_a_long_guess_is_checked_as_a_final_is() -> None:
    bench = Bench(partials=True)
    say_answering(bench, 13)
    bench.pause(0.3)
    guess = bench.jobs[-1] if bench.jobs else bench.last
    assert guess.stands_in
    assert guess.align


def test_a_partial_that_was_overtaken_by_a_guess_of_more_speech_is_dropped() -> None:
    bench = Bench(partials=True)
    while not bench.jobs:
        bench.say(FRAME_S)
    early = bench.jobs.pop()
    bench.say(2)
    bench.pause(0.3)
    guess = bench.jobs.pop()
    assert guess.until_sample > early.until_sample
    bench.jobs = [guess]
    bench.answer(1, 2, 3)
    bench.jobs = [early]
    bench.answer(1)
    bench.end()
    assert bench.finals() == ["one two three"]
