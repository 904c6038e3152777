"""What a slot tells of a transcript before its turn is over."""

from __future__ import annotations

from slot_bench import Bench

from engine.asr.guards import Verdict
from engine.types import (
    Assumed,
)


def assumed(bench: Bench) -> list[str]:
    return [event.text for event in bench.events if isinstance(event, Assumed)]


def reasons(bench: Bench) -> list[tuple[str, str]]:
    return [(event.text, event.after) for event in bench.events if isinstance(event, Assumed)]


def say_until_asked(bench: Bench) -> None:
    while not bench.jobs:
        bench.say(0.032)


def test_in_a_pause_the_transcript_is_told_before_the_end() -> None:
    bench = Bench()
    bench.say(2)
    bench.pause(0.3)
    assert assumed(bench) == []
    bench.answer(3)
    bench.pause(2)
    assert assumed(bench) == ["three"]
    bench.end()
    assert assumed(bench) == bench.finals() == ["three"]


def test_what_was_assumed_is_taken_back_when_speech_goes_on() -> None:
    bench = Bench()
    bench.say(2)
    bench.pause(0.3)
    bench.answer(3)
    bench.say(1)
    assert assumed(bench) == ["three", ""]
    bench.pause(0.3)
    bench.answer(3, 4)
    bench.end()
    assert assumed(bench) == ["three", "", "three four"]
    assert bench.finals() == ["three four"]


def test_a_finished_sentence_is_assumed_before_any_pause() -> None:
    bench = Bench(partials=True)
    say_until_asked(bench)
    bench.answer(3, end="?")
    assert reasons(bench) == [("three?", "sentence")]
    bench.say(0.1)  # VAD hears speech a little longer than there are words
    bench.pause(0.3)
    bench.answer(3, end="?")
    assert reasons(bench) == [("three?", "sentence"), ("three?", "pause")]
    bench.end()
    assert bench.finals() == ["three?"]
    assert len(reasons(bench)) == 2


def test_it_is_taken_back_when_more_is_said_and_when_the_text_goes_on() -> None:
    bench = Bench(partials=True)
    say_until_asked(bench)
    bench.answer(3, end=".")
    bench.say(0.4)
    assert reasons(bench) == [("three.", "sentence"), ("", "pause")]
    for end in ("", "...", "."):
        say_until_asked(bench)
        bench.say(0.032)
        bench.answer(3, 4, end=end)
    assert [after for _, after in reasons(bench)[2:]] == ["sentence"]


def test_without_partials_only_a_pause_is_heard() -> None:
    bench = Bench()
    bench.say(3)
    assert not bench.jobs
    bench.pause(0.3)
    bench.answer(3, end=".")
    assert reasons(bench) == [("three.", "pause")]


def test_with_server_endpointing_nothing_is_taken_back_at_the_end() -> None:
    bench = Bench(endpointing="server")
    for word in (1, 2):
        bench.say(1)
        bench.pause(0.3)
        bench.answer(word)
        bench.pause(1)
    assert assumed(bench) == bench.finals() == ["one", "two"]
    turns = [event.turn_id for event in bench.events if isinstance(event, Assumed)]
    assert turns == [0, 1]


def test_a_doubtful_or_outdated_guess_is_not_assumed() -> None:
    bench = Bench()
    bench.say(2)
    bench.pause(0.3)
    bench.answer(3, verdict=Verdict.RETRY)
    bench.say(1)
    bench.pause(0.25)
    late = bench.jobs.pop()
    bench.say(0.2)
    bench.jobs.insert(0, late)
    bench.answer(3)
    assert assumed(bench) == []
