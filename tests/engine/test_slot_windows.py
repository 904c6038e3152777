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


def test_what_whisper_leaves_out_of_a_long_window_is_decoded_by_itself() -> None:
    bench = Bench()
    bench.idle = False
    bench.say(20)
    bench.end()
    job = bench.jobs.pop(0)
    assert job.align
    early = Hypothesis(job, (1,), decode((1,)), "en", token_times=(0.5, 8.0))
    bench._do(bench.slot.answer(early, Verdict.KEEP, bench.now))
    assert bench.finals() == []
    (rest,) = bench.jobs
    assert rest.seconds == pytest.approx(12, abs=0.3)
    assert rest.context == " one"
    bench.answer(2)
    assert bench.finals() == ["one two"]
