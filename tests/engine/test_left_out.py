"""Speech that a transcript leaves out: which words may be decoded again, and which stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slot_bench import WORDS, Bench, decode

from engine.asr.agreement import LocalAgreement
from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.guards import Verdict
from engine.types import Failure, Transcript

FRAME_S = 0.032


def guess_late_in_a_pause(seconds: float) -> Bench:
    """The model is free again only just before the pause ends the window."""
    bench = Bench()
    bench.idle = False
    bench.say(seconds)
    bench.pause(0.43)
    bench.idle = True
    bench.pause(FRAME_S)
    assert bench.jobs[0].stands_in
    return bench


@pytest.mark.parametrize("last", [(20.4, 20.44), (20.44, 20.44), (20.3, 20.4)])
def test_words_timed_in_silence_that_the_window_does_not_keep(last: tuple[float, float]) -> None:
    bench = guess_late_in_a_pause(20)
    guess = bench.answer(1, 2, 3, times=(0.0, 0.5, *last))
    bench.pause(1)
    kept = 20.3
    assert guess.seconds > kept + 0.1
    (stretch,) = bench.jobs
    assert stretch.seconds == pytest.approx(kept - 0.5, abs=0.05)
    bench.answer(2, 4, 3)
    bench.say(1)
    bench.end()
    bench.answer(5)
    assert bench.finals() == ["one two four three five"]


spoken_s = st.floats(0.5, 27)
offsets = st.lists(st.floats(0, 1), min_size=2, max_size=12).map(sorted)


@settings(max_examples=150, deadline=None)
@given(spoken_s, st.floats(0.19, 0.47), offsets, st.integers(0, 3))
@example(20.0, 0.43, [0.0, 0.5 / 20.5, 20.4 / 20.5, 20.44 / 20.5], 0)
def test_no_part_is_empty_and_no_speech_gets_lost_or_doubled(
    seconds: float, free_after_s: float, at: list[float], found: int
) -> None:
    """Wherever the alignment puts the words, in a guess made at any time in a pause."""
    bench = Bench(words=True)
    bench.idle = False
    bench.say(seconds)
    bench.pause(free_after_s)
    bench.idle = True
    bench.pause(0.1)
    if bench.jobs:
        times = tuple(offset * bench.jobs[0].seconds for offset in at)
        bench.answer(*[1] * (len(times) - 1), times=times)
    bench.end()
    for _ in range(30):
        if not bench.jobs:
            break
        job = bench.answer(*[2] * found, times=(0.0, *[bench.jobs[0].seconds] * found))
        assert len(job.pcm) > 0
    assert len(bench.finals()) == 1
    assert bench.slot._undecoded_samples == 0


def long_turn(bench: Bench, words: int, until_s: float) -> None:
    """Partials of so many words, each of half a second, answered as they come."""
    while bench.now < until_s:
        bench.say(0.2)
        while bench.jobs and bench.now < until_s:
            prefix = len(bench.jobs[0].prefix)
            bench.answer(*range(1, 1 + words)[prefix:])


def test_words_that_the_last_guess_settled_are_not_decoded_again() -> None:
    bench = Bench(partials=True)
    long_turn(bench, 3, 13.4)
    bench.pause(0.25)
    while bench.jobs and not bench.jobs[0].stands_in:
        bench.answer(3)
    (guess,) = bench.jobs
    assert guess.prefix == (1, 2)
    # "three" settles with this guess, and would be a stretch of seven seconds
    bench.answer(3, 4, times=(0.0, 0.5, 1.0, 8.0, 8.5))
    stable = {t.text[: t.stable_chars] for t in bench.partials()}
    assert "one two three" in stable
    bench.pause(1)
    bench.end()
    while bench.jobs:
        bench.answer(7, 8, 9)
    (final,) = bench.finals()
    assert final.startswith("one two three")


def test_a_final_that_was_asked_before_words_became_stable_is_asked_again() -> None:
    bench = Bench(partials=True)
    jobs: list[AsrJob] = []
    while bench.now < 6:
        bench.say(0.2)
        while bench.jobs:
            if bench.now < 4.5:
                bench.answer(*(1, 2, 3)[len(bench.jobs[0].prefix) :])
            else:
                jobs.append(bench.jobs.pop(0))
    late, newer = jobs[0], jobs[-1]
    told = bench.slot._open.agreement.settled
    assert newer.prefix == late.prefix == told
    bench.pause(0.3)
    guess = bench.jobs.pop(0)
    assert guess.prefix == told
    bench.jobs = [late]
    bench.answer(*(1, 2, 3, 4, 5)[len(late.prefix) :])
    settled = bench.slot._open.agreement.settled
    assert len(settled) > len(told)
    bench.end()
    bench.jobs = [guess]
    bench.answer(*[6] * (5 - len(told)))
    (again,) = bench.jobs
    assert again.is_final
    assert again.prefix == settled
    bench.answer(7)
    assert bench.finals() == [(decode(settled) + " seven").strip()]


def test_a_final_without_speech_keeps_what_was_told_as_stable() -> None:
    bench = Bench(partials=True)
    bench.idle = False
    long_turn(bench, 3, 5)
    bench.jobs.clear()
    bench.end()
    assert bench.jobs[0].prefix == (1, 2)
    bench.answer(verdict=Verdict.NO_SPEECH)
    assert bench.finals() == ["one two"]


def test_speech_left_out_at_the_end_is_found_behind_a_stretch_that_must_stand() -> None:
    bench = Bench(partials=True)
    bench.idle = False
    long_turn(bench, 3, 16)
    bench.jobs.clear()
    bench.end()
    (job,) = bench.jobs
    assert job.prefix == (1, 2)
    # "three" lasts too long, but has no begin of its own to be parted at; nothing after 9 s
    bench.answer(3, times=(0.0, 0.0, 0.0, 9.0))
    (rest,) = bench.jobs
    assert rest.seconds == pytest.approx(job.seconds - 9, abs=0.2)
    bench.answer(4)
    assert bench.finals() == ["one two three four"]


def test_every_part_of_a_window_has_all_that_was_said_before_as_context() -> None:
    bench = Bench()
    bench.idle = False
    bench.say(3)
    bench.pause(1.5)
    bench.answer(9)
    bench.say(20)
    bench.end()
    assert bench.jobs[0].context == " nine"
    bench.answer(*[1] * 16, times=(*[word / 2 for word in range(16)], 8.0))
    (rest,) = bench.jobs
    assert rest.context == " nine" + " one" * 16
    bench.answer(*[2] * 8, times=(*[word / 2 for word in range(8)], 4.0))
    (rest,) = bench.jobs
    assert rest.context == " nine" + " one" * 16 + " two" * 8
    bench.answer(3)
    assert bench.finals() == [(rest.context + " three").strip()]


# ---- the promise: a final begins with every text that was told as stable --------------------

tokens = st.lists(st.integers(1, 3), max_size=8)
moves = st.one_of(
    st.tuples(st.just("say"), st.sampled_from([0.3, 0.8, 2.0, 6.0])),
    st.tuples(st.just("say"), st.sampled_from([0.8, 2.0, 6.0])),
    st.tuples(st.just("pause"), st.sampled_from([0.1, 0.3, 0.6, 1.2])),
    st.tuples(st.just("steady"), st.integers(1, 5)),
    st.tuples(st.just("take"), st.none()),
    st.tuples(st.just("result"), st.integers(0, 3)),
    st.tuples(st.just("end"), st.none()),
)


class Teller:
    """A client with partials, and a model that says anything, in any order, with any times."""

    def __init__(self, draw: Callable[[st.SearchStrategy], object]) -> None:
        self.bench, self.draw = Bench(partials=True), draw
        self.running: list[AsrJob] = []  # out of the queue, and not back
        self.said: tuple[int, ...] = ()  # the last time

    def do(self, what: str, how: float) -> None:
        match what:
            case "say":
                self.bench.say(how)
            case "pause":
                self.bench.pause(how)
            case "end":
                self.bench.end()
            case "take":
                self.running += self.bench.jobs
                self.bench.jobs = []
            case "steady":
                self.steady(int(how))
            case "result" if self.running:
                self.back(self.running.pop(int(how) % len(self.running)))

    def steady(self, words: int) -> None:
        """Speech in which each partial has the same words, so that all but the last settle."""
        for _ in range(12):
            self.bench.say(0.5)
            while self.bench.jobs:
                job = self.bench.jobs.pop(0)
                said = (1, 2, 3, 4, 5)[:words]
                fits = said[: len(job.prefix)] == job.prefix
                self.answer(job, said if fits else job.prefix, (), Verdict.KEEP)

    def back(self, job: AsrJob) -> None:
        same = self.said[: len(job.prefix)] == job.prefix and self.draw(st.booleans())
        said = self.said if same else (*job.prefix, *self.draw(tokens))
        outcomes = [Verdict.KEEP, Verdict.KEEP, Verdict.RETRY, Verdict.NO_SPEECH]
        verdict = self.draw(st.sampled_from(outcomes))
        asked = job.align or len(said) < job.align_below
        places = st.lists(st.floats(0, 1), min_size=len(said) + 1, max_size=len(said) + 1)
        times = tuple(at * job.seconds for at in sorted(self.draw(places))) if asked else ()
        self.answer(job, said, times, verdict)

    def answer(
        self, job: AsrJob, said: tuple[int, ...], times: tuple[float, ...], verdict: Verdict
    ) -> None:
        self.said = said
        sure = (-0.05,) * (len(said) - len(job.prefix))
        final = any(job.number == each.number for each in self.bench.promoted) or job.is_final
        job = next((j for j in self.bench.promoted if j.number == job.number), job)
        assert final == job.is_final
        hypothesis = Hypothesis(
            job, said, decode(said), "en", -0.1, token_logprobs=sure, token_times=times
        )
        self.bench._do(self.bench.slot.answer(hypothesis, verdict, self.bench.now))

    def finish(self) -> None:
        self.bench.end()
        for _ in range(400):
            self.do("take", 0)
            if not self.running:
                return
            self.back(self.running.pop(0))
        raise AssertionError("never done")


@settings(max_examples=150, deadline=None)
@given(st.lists(moves, max_size=25), st.data())
def test_a_final_begins_with_every_text_that_was_told_as_stable(
    script: list[tuple[str, float]], data: st.DataObject
) -> None:
    teller = Teller(data.draw)
    for move in script:
        teller.do(*move)
    teller.finish()
    told: dict[int, list[str]] = {}
    for event in teller.bench.events:
        assert not isinstance(event, Failure)
        if isinstance(event, Transcript) and not event.is_final:
            told.setdefault(event.turn_id, []).append(event.text[: event.stable_chars])
        elif isinstance(event, Transcript):
            for stable in told.pop(event.turn_id, []):
                assert event.text.startswith(stable)
    assert told == {}


def test_the_words_of_the_bench_are_whole_words() -> None:
    """Else nothing would ever be settled, and the promise would be kept for nothing."""
    agreement = LocalAgreement(decode)
    for second in range(8):
        agreement.update((1, 2, 3), float(second), (-0.05,) * (3 - len(agreement.settled)))
    assert decode(agreement.settled) == WORDS[1] + WORDS[2]
