"""What a slot makes of frames, ends and results: no model, no thread, no clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.guards import Verdict
from engine.config import EngineSettings
from engine.errors import AsrFailed
from engine.slot import End, Slot, Work
from engine.types import (
    SAMPLE_RATE,
    Event,
    Failure,
    SegmentEnded,
    SessionOptions,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from engine.vad.endpointer import FRAME_SAMPLES

FRAMES_PER_S = SAMPLE_RATE / FRAME_SAMPLES
WORDS = [" zero", " one", " two", " three", " four", " five", " six", " seven", " eight", " nine"]


def decode(tokens: Sequence[int]) -> str:
    return "".join(WORDS[t % 10] for t in tokens)


class Bench:
    """A slot, fed speech and silence; jobs wait here until the test answers them."""

    def __init__(
        self,
        partials: bool = False,
        endpointing: str = "client",
        words: bool = False,
        **limits: float,
    ):
        options = SessionOptions(partials=partials, endpointing=endpointing, words=words)  # type: ignore[arg-type]
        self.slot = Slot(7, 0, options, EngineSettings(**limits), decode)  # type: ignore[arg-type]
        self.events: list[Event] = []
        self.jobs: list[AsrJob] = []
        self.promoted: list[AsrJob] = []
        self.idle = True
        self.now = 0.0

    def _do(self, work: Work) -> None:
        self.events += work.events
        if work.submit:
            if self.jobs and not self.jobs[-1].is_final:
                self.jobs.pop()  # as the scheduler does: the newer job replaces the partial
            self.jobs.append(work.submit)
        if work.promote:
            self.promoted.append(work.promote)
            self.jobs = [work.promote if not j.is_final else j for j in self.jobs]

    def hear(self, seconds: float, probability: float) -> None:
        for _ in range(round(seconds * FRAMES_PER_S)):
            self.slot.put(np.full(FRAME_SAMPLES, probability, np.float32))
            self._pump(probability)

    def _pump(self, probability: float = 0.0) -> None:
        while True:
            _, end = self.slot.take()
            if end is not None:
                self._do(self.slot.end(end, self.now))
            elif self.slot.frame_ready:
                self.slot.frame()
                self.now += 0.032
                self._do(self.slot.heard(probability, self.now, self.idle))
            else:
                return

    def say(self, seconds: float) -> None:
        self.hear(seconds, 0.9)

    def pause(self, seconds: float) -> None:
        self.hear(seconds, 0.02)

    def end(self) -> None:
        self.slot.put(End(self.now))
        self._pump()

    def answer(
        self, *tokens: int, verdict: Verdict = Verdict.KEEP, error: Exception | None = None
    ) -> AsrJob:
        job = self.jobs.pop(0)
        said = (*job.prefix, *tokens)
        sure = (-0.1,) * len(tokens)
        self._do(
            self.slot.answer(
                Hypothesis(job, said, decode(said), "en", token_logprobs=sure, error=error),
                verdict,
                self.now,
            )
        )
        return job

    def finals(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, Transcript) and e.is_final]

    def partials(self) -> list[Transcript]:
        return [e for e in self.events if isinstance(e, Transcript) and not e.is_final]


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


def test_the_language_heard_first_is_kept() -> None:
    bench = Bench()
    bench.idle = False
    bench.say(1)
    bench.end()
    assert bench.answer(1).language is None
    bench.say(1)
    bench.end()
    assert bench.answer(1).language == "en"


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
    for before, after in zip(bench.partials(), bench.partials()[1:], strict=False):
        if before.turn_id == after.turn_id:
            assert after.text.startswith(before.text[: before.stable_chars])
