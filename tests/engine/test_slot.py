"""What a slot makes of frames, ends and results: no model, no thread, no clock."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slot_bench import Bench

from engine.asr.guards import Verdict
from engine.errors import AsrFailed
from engine.types import (
    Assumed,
    Failure,
    SegmentEnded,
    SessionOptions,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)


def test_silence_is_answered_without_asking_whisper() -> None:
    bench = Bench()
    bench.pause(1)
    bench.end()
    assert bench.finals() == [""]
    assert bench.jobs == []


def test_an_end_without_audio_is_answered() -> None:
    bench = Bench()
    bench.end()
    bench.end()
    assert bench.finals() == ["", ""]
    assert [e.turn_id for e in bench.events if isinstance(e, Transcript)] == [0, 1]


def test_speech_is_trimmed_and_decoded_once() -> None:
    bench = Bench(vad_padding_ms=320)
    bench.idle = False
    bench.pause(2)
    bench.say(3)
    bench.pause(2)
    bench.end()
    assert bench.finals() == []
    job = bench.answer(1, 2)
    assert job.is_final
    assert job.seconds == pytest.approx(3.64, abs=0.1)
    assert bench.finals() == ["one two"]
    assert [type(e) for e in bench.events] == [SpeechStarted, SpeechStopped, Transcript]


def test_a_pause_within_is_kept_short() -> None:
    bench = Bench(vad_padding_ms=320)
    bench.idle = False
    for _ in range(2):
        bench.say(1)
        bench.pause(3)
    bench.end()
    assert bench.answer(1).seconds == pytest.approx(2 * 1 + 0.32 * 3, abs=0.15)


def test_what_was_said_before_the_pause_is_ready_at_the_end() -> None:
    bench = Bench()
    bench.say(2)
    bench.pause(0.3)
    guess = bench.answer(3)
    assert not guess.is_final
    assert bench.partials() == []
    bench.pause(0.1)
    bench.end()
    assert bench.finals() == ["three"]
    assert bench.jobs == []


def test_a_guess_still_under_way_becomes_the_final() -> None:
    bench = Bench()
    bench.say(2)
    bench.pause(0.3)
    bench.end()
    assert len(bench.jobs) == 1
    assert bench.promoted[0].is_final
    bench.answer(3)
    assert bench.finals() == ["three"]


def test_a_poor_guess_is_decoded_again_with_care() -> None:
    bench = Bench()
    bench.say(2)
    bench.pause(0.3)
    running = bench.jobs.pop()
    bench.end()
    bench.jobs.append(running)
    bench.answer(3, verdict=Verdict.RETRY)
    assert bench.finals() == []
    again = bench.answer(4)
    assert again.full_context
    assert bench.finals() == ["four"]


def test_a_guess_refused_before_the_end_is_not_waited_for() -> None:
    bench = Bench()
    bench.say(2)
    bench.pause(0.3)
    bench.answer(3, verdict=Verdict.RETRY)
    bench.end()
    assert bench.answer(5).is_final
    assert bench.finals() == ["five"]


@pytest.mark.parametrize(("second", "heard"), [(-0.2, "four"), (-0.6, "three")])
def test_a_doubtful_guess_gets_a_second_look_and_the_likelier_stands(
    second: float, heard: str
) -> None:
    bench = Bench()
    bench.say(2)
    bench.pause(0.25)
    assert not bench.answer(3, avg_logprob=-0.5).full_context
    bench.pause(0.04)
    look = bench.answer(4, avg_logprob=second)
    assert look.full_context
    assert not look.is_final
    bench.pause(0.15)
    assert bench.jobs == [], "a third look"
    bench.end()
    assert bench.finals() == [heard]


def test_the_end_does_not_wait_for_a_second_look() -> None:
    bench = Bench()
    bench.say(2)
    bench.pause(0.25)
    bench.answer(3, avg_logprob=-0.5)
    bench.pause(0.04)
    assert bench.jobs[0].full_context
    bench.end()
    assert bench.finals() == ["three"]
    bench.answer(4)
    assert bench.finals() == ["three"]


def test_no_second_look_while_others_wait_or_without_a_doubt() -> None:
    for idle, avg_logprob in ((False, -0.5), (True, -0.2)):
        bench = Bench()
        bench.say(2)
        bench.pause(0.25)
        bench.answer(3, avg_logprob=avg_logprob)
        bench.idle = idle
        bench.pause(0.2)
        assert bench.jobs == []


def test_no_guess_while_others_wait() -> None:
    bench = Bench()
    bench.idle = False
    bench.say(2)
    bench.pause(0.4)
    assert bench.jobs == []


def test_speech_after_the_guess_is_not_lost() -> None:
    bench = Bench()
    bench.say(2)
    bench.pause(0.3)
    bench.say(1)
    bench.end()
    assert bench.answer(1).seconds > 3
    assert bench.finals() == ["one"]


def test_partials_grow_and_settle() -> None:
    bench = Bench(partials=True, partial_interval_s=0.5)
    bench.say(0.7)
    bench.answer(1, 2)
    bench.say(0.6)
    bench.answer(1, 2, 3)
    assert [(p.text, p.stable_chars) for p in bench.partials()] == [
        ("one two", 0),
        ("one two three", len("one two")),
    ]
    bench.say(0.6)
    assert bench.jobs[-1].prefix == (1, 2)
    bench.answer(9)
    last = bench.partials()[-1]
    assert last.text == "one two nine"
    bench.end()
    assert bench.answer(4).prefix == (1, 2)
    assert bench.finals() == ["one two four"]


def test_a_late_partial_says_nothing_after_the_end() -> None:
    bench = Bench(partials=True)
    bench.say(2)
    late = bench.jobs.pop(0)
    bench.say(0.3)
    bench.end()
    bench.jobs.insert(0, late)
    bench.answer(5)
    assert bench.partials() == []
    bench.answer(6)
    assert bench.finals() == ["six"]


def test_with_server_endpointing_silence_ends_the_segment() -> None:
    bench = Bench(endpointing="server")
    bench.say(1)
    bench.pause(1)
    bench.answer(1)
    bench.say(1)
    bench.pause(1)
    bench.answer(2)
    assert bench.finals() == ["one", "two"]
    assert [e.turn_id for e in bench.events if isinstance(e, SegmentEnded)] == [0, 1]


def test_whisper_may_hear_no_speech() -> None:
    bench = Bench()
    bench.idle = False
    bench.say(1)
    bench.end()
    bench.answer(1, verdict=Verdict.NO_SPEECH)
    assert bench.finals() == [""]


def test_cancel_forgets_a_turn_and_goes_on_with_the_next() -> None:
    bench = Bench()
    bench.idle = False
    bench.say(1)
    bench.end()
    bench.say(1)
    bench.end()
    bench.jobs.clear()
    bench._do(bench.slot.cancel(0, bench.now))
    assert bench.answer(2).turn_id == 1
    assert bench.finals() == ["two"]


def test_what_the_session_asked_for_is_in_every_job() -> None:
    """Partials, guesses at a pause, and finals; also after words were settled."""
    hearing = {"task": "translate", "prompt": "Once", "hotwords": "Kowloon", "language": "de"}
    bench = Bench(options=SessionOptions(partials=True, **hearing), partial_interval_s=0.5)
    jobs = []
    for words in ((1, 2), (1, 2, 3), (3, 4)):
        bench.say(0.7)
        jobs.append(bench.answer(*words))
    bench.pause(0.3)
    jobs.append(bench.answer(3))
    bench.say(0.2)
    bench.end()
    jobs.append(bench.answer(5))
    assert [job.is_final for job in jobs] == [False] * 4 + [True]
    assert jobs[-1].prefix
    for job in jobs:
        assert {name: getattr(job, name) for name in hearing} == hearing


steps = st.lists(
    st.tuples(
        st.sampled_from(["say", "pause", "end", "answer", "retry", "error", "cancel"]),
        st.floats(0.05, 12),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(steps, st.booleans(), st.sampled_from(["client", "server"]))
def test_every_turn_ends_once_in_order(
    steps: list[tuple[str, float]], partials: bool, endpointing: str
) -> None:
    bench = Bench(partials=partials, endpointing=endpointing)
    ended, cancelled = 0, set()

    def endings() -> list[int]:
        return [
            e.turn_id
            for e in bench.events
            if isinstance(e, Failure) or (isinstance(e, Transcript) and e.is_final)
        ]

    for action, amount in steps:
        match action:
            case "say":
                bench.say(amount)
            case "pause":
                bench.pause(amount)
            case "end":
                bench.end()
                ended += 1
            case "cancel":
                turns = ended + sum(isinstance(e, SegmentEnded) for e in bench.events)
                turn = int(amount)
                if turn < turns and turn not in endings():
                    bench.jobs = [j for j in bench.jobs if j.turn_id != turn]
                    cancelled.add(turn)
                    bench._do(bench.slot.cancel(turn, bench.now))
            case "answer" if bench.jobs:
                bench.answer(int(amount))
            case "retry" if bench.jobs:
                bench.answer(int(amount), verdict=Verdict.RETRY)
            case "error" if bench.jobs:
                bench.answer(verdict=Verdict.RETRY, error=AsrFailed("x"))
    bench.end()
    ended += 1 + sum(isinstance(e, SegmentEnded) for e in bench.events)
    while bench.jobs:
        bench.answer(1)
        bench._pump(0.9)
    assert endings() == [turn for turn in range(ended) if turn not in cancelled]
    standing = {e.turn_id: e.text for e in bench.events if isinstance(e, Assumed)}
    for final in [e for e in bench.events if isinstance(e, Transcript) and e.is_final]:
        assert standing.get(final.turn_id, "") in ("", final.text)
    for before, after in zip(bench.partials(), bench.partials()[1:], strict=False):
        if before.turn_id == after.turn_id:
            assert after.text.startswith(before.text[: before.stable_chars])
