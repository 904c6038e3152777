"""Long speech in windows: where they end, what goes on, what is left out."""

from __future__ import annotations

import pytest
from slot_bench import Bench, decode

from engine.asr.backend import Hypothesis
from engine.asr.guards import Verdict
from engine.errors import AsrFailed
from engine.types import (
    Failure,
    SpeechStarted,
    Transcript,
)


def test_long_speech_goes_on_in_a_next_window_with_its_text_as_context() -> None:
    bench = Bench()
    bench.say(70)
    bench.end()
    jobs = []
    while bench.jobs:
        jobs.append(bench.answer(len(jobs)))
        bench._pump(0.9)
    assert bench.finals() == ["zero one two three"]
    assert [j.context for j in jobs] == ["", " zero", " zero one", " zero one two"]
    assert all(j.seconds <= 28.1 for j in jobs)
    assert sum(j.seconds for j in jobs) == pytest.approx(70, abs=0.1)


def test_a_long_enough_window_closes_at_a_pause() -> None:
    bench = Bench()
    bench.say(20)
    bench.pause(0.6)
    assert bench.answer(1).is_final
    bench.say(2)
    bench.end()
    bench.answer(2)
    assert bench.finals() == ["one two"]


def test_a_failed_window_fails_its_turn_once_and_no_other() -> None:
    bench = Bench()
    bench.say(40)
    bench.answer(error=AsrFailed("out of memory"), verdict=Verdict.RETRY)
    assert [type(e) for e in bench.events] == [SpeechStarted]
    bench.end()
    bench.say(1)
    bench.end()
    while bench.jobs:
        bench.answer(3)
    endings = [e for e in bench.events if isinstance(e, Failure | Transcript)]
    assert [type(e) for e in endings] == [Failure, Transcript]
    assert [e.turn_id for e in endings] == [0, 1]
    assert "out of memory" in endings[0].message


def test_undecoded_speech_pushes_back() -> None:
    bench = Bench(max_buffered_s=30)
    bench.say(90)
    assert bench.slot.blocked
    moved, _ = bench.slot.take()
    assert moved == 0
    while bench.jobs:
        bench.answer(1)
        bench._pump(0.9)
    assert not bench.slot.blocked


def test_words_are_timed_on_the_session_s_clock() -> None:
    bench = Bench(vad_padding_ms=0, words=True)
    bench.idle = False
    bench.pause(2)
    bench.say(1)
    bench.pause(3)
    bench.say(1)
    bench.end()
    job = bench.jobs.pop(0)
    assert job.align
    times = (0.2, 0.5, 1.3, 1.8)
    hypothesis = Hypothesis(job, (1, 2, 3), decode((1, 2, 3)), "en", token_times=times)
    bench._do(bench.slot.answer(hypothesis, Verdict.KEEP, bench.now))
    (final,) = (e for e in bench.events if isinstance(e, Transcript))
    assert [w.text for w in final.words] == ["one", "two", "three"]
    starts = [w.start_s for w in final.words]
    assert starts == pytest.approx([2.2, 2.5, 6.3], abs=0.1)
    # "two" ends with the speech it was said in, not in the speech after the pause
    assert final.words[1].end_s == pytest.approx(3.0, abs=0.1)
    assert final.words[2].end_s == pytest.approx(6.8, abs=0.1)


def times_of(*spoken: tuple[float, int]) -> tuple[float, ...]:
    """Begins of words that are half a second long each: so many from each time on."""
    return tuple(at + word / 2 for at, words in spoken for word in range(words))


def test_what_whisper_leaves_out_at_the_end_is_decoded_by_itself() -> None:
    bench = Bench()
    bench.idle = False
    bench.say(20)
    bench.end()
    assert bench.jobs[0].align
    bench.answer(*[1] * 16, times=(*times_of((0, 16)), 8.0))
    assert bench.finals() == []
    (rest,) = bench.jobs
    assert rest.seconds == pytest.approx(12, abs=0.3)
    assert rest.context == " one" * 16
    bench.answer(2)
    assert bench.finals() == ["one " * 16 + "two"]


def test_what_whisper_leaves_out_in_the_middle_is_decoded_in_its_place() -> None:
    bench = Bench(words=True)
    bench.idle = False
    bench.say(20)
    bench.end()
    # the second word seems to last from 0.5 to 8 s
    bench.answer(1, 2, *[3] * 24, times=(0.0, *times_of((0.5, 1), (8, 24)), 20.0))
    assert bench.finals() == []
    (stretch,) = bench.jobs
    assert stretch.is_final
    assert stretch.seconds == pytest.approx(7.5, abs=0.1)
    assert stretch.context == " one"
    bench.answer(4, 5, 2, times=(0.0, 2.0, 4.0, 7.0))
    assert bench.jobs == [], "a stretch is not cut again"
    assert bench.finals() == ["one four five two" + " three" * 24]
    (final,) = (e for e in bench.events if isinstance(e, Transcript))
    starts = [word.start_s for word in final.words]
    assert starts[:5] == pytest.approx([0, 0.5, 2.5, 4.5, 8], abs=0.1)
    assert len(starts) == 28


@pytest.mark.parametrize("verdict", [Verdict.KEEP, Verdict.NO_SPEECH])
def test_a_stretch_in_which_no_more_is_found_stands_as_it_was(verdict: Verdict) -> None:
    bench = Bench()
    bench.idle = False
    bench.say(20)
    bench.end()
    bench.answer(1, 2, *[3] * 24, times=(0.0, *times_of((0.5, 1), (8, 24)), 20.0))
    bench.answer(*([] if verdict is Verdict.NO_SPEECH else [6]), verdict=verdict)
    assert bench.finals() == ["one two" + " three" * 24]


def test_silence_between_words_is_nothing_left_out() -> None:
    bench = Bench(vad_min_silence_ms=5000)
    bench.idle = False
    bench.say(8)
    bench.pause(3)
    bench.say(8)
    bench.end()
    assert bench.jobs[0].seconds == pytest.approx(19, abs=0.1)
    bench.answer(*[1] * 32, times=(*times_of((0, 16), (11, 16)), 19.0))
    assert bench.finals() == [("one " * 32).strip()]


def test_settled_words_are_not_cut() -> None:
    bench = Bench(partials=True)
    while not bench.jobs or bench.jobs[-1].seconds < 13:
        bench.say(0.2)
        if bench.jobs and bench.jobs[-1].seconds < 13:
            bench.answer(*[1, 2, 3][len(bench.jobs[-1].prefix) :])
    bench.jobs.clear()
    bench.end()
    (job,) = bench.jobs
    assert job.prefix == (1, 2)
    bench.answer(3, times=(0.0, 6.0, 12.5, 13.0))
    assert bench.finals() == ["one two three"]


def test_sparse_text_of_a_short_window_is_to_be_told_with_its_times() -> None:
    bench = Bench()
    bench.idle = False
    bench.say(6)
    bench.end()
    assert not bench.jobs[0].align
    assert bench.jobs[0].align_below == 12
    bench.answer(1)
    bench.say(2)
    bench.end()
    assert bench.jobs[0].align_below == 0


def test_a_long_pause_parts_a_turn_and_the_guess_stands_for_the_window() -> None:
    bench = Bench()
    for word in (1, 2, 3):
        bench.say(3)
        bench.pause(0.3)
        job = bench.answer(word, end=".")
        assert job.seconds == pytest.approx(3.6, abs=0.4)
        assert job.context == "".join(f" {said}." for said in ("one", "two")[: word - 1])
        bench.pause(1.2)
        assert bench.jobs == []
    bench.end()
    assert bench.finals() == ["one. two. three."]


def test_a_long_pause_in_mid_sentence_parts_nothing() -> None:
    bench = Bench()
    bench.say(2)
    bench.pause(0.3)
    bench.answer(1, end=",")
    bench.pause(2)
    bench.say(2)
    bench.end()
    assert bench.jobs[0].seconds > 4
    bench.answer(1, 2)
    assert bench.finals() == ["one two"]


def test_a_long_pause_parts_where_nobody_knows_whether_a_sentence_ended() -> None:
    bench = Bench()
    bench.idle = False
    bench.say(2)
    bench.pause(1.5)
    assert bench.answer(1).is_final
    bench.say(2)
    bench.end()
    assert bench.answer(2).context == " one"
    assert bench.finals() == ["one two"]


def test_a_short_pause_and_little_speech_part_nothing() -> None:
    for seconds, pause in ((2, 1.0), (0.4, 2)):
        bench = Bench()
        bench.idle = False
        for _ in range(2):
            bench.say(seconds)
            bench.pause(pause)
        bench.end()
        assert len(bench.jobs) == 1
        assert bench.jobs[0].seconds > 2 * seconds


def test_with_partials_what_was_said_before_a_long_pause_stays() -> None:
    bench = Bench(partials=True)
    bench.say(2)
    bench.pause(0.3)
    while bench.jobs:
        bench.answer(*(1,)[len(bench.jobs[0].prefix) :], end=".")
    bench.pause(1.2)
    bench.say(1)
    bench.answer(2)
    last = bench.partials()[-1]
    assert last.text == "one. two"
    assert last.stable_chars == len("one.")
