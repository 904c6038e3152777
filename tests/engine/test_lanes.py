"""The speech lane and the speech model's lane: threads, with fake models and no waiting."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Literal, NoReturn

import numpy as np
import pytest
from lane_fakes import Listener, LoudIsSpeech
from lane_pair import Pair, SteppedModel, loud, quiet
from patience import wait_until

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.guards import Verdict
from engine.asr_lane import AsrLane, Heard
from engine.config import EngineSettings
from engine.speech_lane import SpeechLane
from engine.types import (
    SAMPLE_RATE,
    AudioChunk,
    AudioConsumed,
    CloseSlot,
    EndSegment,
    Event,
    Failure,
    OpenSlot,
    SegmentEnded,
    SessionOptions,
    Transcript,
)
from engine.work import Submit

WAIT_S = 10


class Rig:
    """Both lanes running; events come out of a queue."""

    def __init__(self, backend: Listener) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.vad, self.backend = LoudIsSpeech(), backend
        settings = EngineSettings(max_sessions=8)
        self.speech = SpeechLane(self.vad, backend.decode, settings, self._deliver)
        self.asr = AsrLane(backend, self.speech.answer, on_death=self.speech.stop)
        self.asr.start()
        self.speech.start(self.asr)

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            self.events.put(event)

    def say(self, key: int, seconds: float) -> None:
        self.speech.post(AudioChunk(key, np.full(round(seconds * 16_000), 0.9, np.float32)))

    def next(self, *kinds: type) -> Event:
        while not isinstance(event := self.events.get(timeout=WAIT_S), kinds):
            pass
        return event

    def close(self) -> None:
        self.speech.close()
        self.asr.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig(Listener())
    yield made
    made.close()


def test_each_session_gets_its_own_words(rig: Rig) -> None:
    for key in range(8):
        rig.speech.post(OpenSlot(key, SessionOptions()))
        rig.say(key, key + 1)
        rig.speech.post(EndSegment(key))
    finals = [rig.next(Transcript) for _ in range(8)]
    texts = {f.key: f.text for f in finals if isinstance(f, Transcript)}
    assert texts == {key: f"{key}:{key + 1}" for key in range(8)}
    assert max(rig.vad.batches) > 1


def test_all_audio_is_given_back(rig: Rig) -> None:
    rig.speech.post(OpenSlot(3, SessionOptions()))
    for _ in range(10):
        rig.say(3, 0.3)
    rig.speech.post(EndSegment(3))
    consumed = 0
    while consumed < 10 * 4800:
        event = rig.next(AudioConsumed)
        assert isinstance(event, AudioConsumed)
        consumed += event.samples
    assert consumed == 10 * 4800


def test_a_slot_is_used_again_and_old_audio_goes_nowhere(rig: Rig) -> None:
    for key in range(30):  # more sessions than slots, one after another
        rig.speech.post(OpenSlot(key, SessionOptions()))
        rig.say(key, 1)
        rig.speech.post(CloseSlot(key))
        rig.say(key, 1)
    rig.speech.post(OpenSlot(99, SessionOptions()))
    rig.say(99, 2)
    rig.speech.post(EndSegment(99))
    final = rig.next(Transcript)
    assert isinstance(final, Transcript)
    assert (final.key, final.text) == (99, "99:2")


def test_a_broken_model_answers_every_turn_and_is_reported() -> None:
    rig = Rig(Listener(MemoryError("no room")))
    for key in range(3):
        rig.speech.post(OpenSlot(key, SessionOptions()))
        rig.say(key, 1)
        rig.speech.post(EndSegment(key))
    failures = [rig.next(Failure) for _ in range(3)]
    assert {f.code for f in failures if isinstance(f, Failure)} == {"asr_failed"}
    assert "no room" in str(rig.asr.problem)
    rig.close()


def test_a_lane_that_stops_says_why(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: Sequence[Heard]) -> None:
        raise RuntimeError("nobody listens")

    told: list[str] = []
    lane = AsrLane(Listener(), refuse, on_death=told.append)
    lane.start()
    lane.post(Submit(AsrJob(1, 0, 0, np.zeros(16_000, np.float32), is_final=True)))
    lane._thread.join(20)
    assert "nobody listens" in str(lane.problem)
    assert told == [lane.problem]
    assert "RuntimeError: nobody listens" in caplog.text


def test_a_model_that_breaks_with_its_hands_full_keeps_nobody_waiting() -> None:
    """It has no room for the next final, and never will."""
    pair = Pair(SteppedModel(drops=True))
    for key in range(5):
        pair.open(key)
        pair.say(key, loud(1))
        pair.end(key)
    pair.run()
    assert len(pair.model.jobs) == 3
    pair.model.broken = RuntimeError("planted")
    pair.run()
    assert [pair.answers(key) for key in range(5)] == [[0]] * 5
    assert pair.asr.idle


def test_when_the_speech_lane_dies_every_open_turn_is_failed_at_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.backend.capacity = lambda job: 0  # nobody's words come back
    for key in range(3):
        rig.speech.post(OpenSlot(key, SessionOptions()))
        rig.say(key, 1)
        rig.speech.post(EndSegment(key))
    wait_until(lambda: rig.asr.finals_wait)
    rig.vad.error = RuntimeError("device lost")
    rig.say(0, 1)
    failures = [rig.next(Failure) for _ in range(3)]
    assert {(f.key, f.turn_id, f.code) for f in failures} == {
        (k, 0, "asr_failed") for k in range(3)
    }
    assert "device lost" in str(rig.speech.dead)
    assert "RuntimeError: device lost" in caplog.text


def test_a_dead_speech_lane_answers_later_turns_and_takes_audio(rig: Rig) -> None:
    rig.vad.error = RuntimeError("device lost")
    rig.speech.post(OpenSlot(1, SessionOptions()))
    rig.say(1, 1)
    rig.speech.post(EndSegment(1))
    rig.say(1, 2)
    rig.speech.post(EndSegment(1))
    told = [rig.next(Failure, AudioConsumed)]
    while sum(isinstance(event, Failure) for event in told) < 2:
        told.append(rig.next(Failure, AudioConsumed))
    assert [event.turn_id for event in told if isinstance(event, Failure)] == [0, 1]
    assert sum(event.samples for event in told if isinstance(event, AudioConsumed)) == 48_000
    rig.speech.post(OpenSlot(2, SessionOptions()))
    rig.speech.post(EndSegment(2))
    assert (rig.next(Failure).key, rig.events.qsize()) == (2, 0)


def test_when_the_speech_models_lane_dies_every_open_turn_is_failed_at_once() -> None:
    class Refusing(Listener):
        def capacity(self, job: AsrJob) -> int:
            raise RuntimeError("planted")

    rig = Rig(Refusing())
    for key in range(2):
        rig.speech.post(OpenSlot(key, SessionOptions()))
        rig.say(key, 1)
        rig.speech.post(EndSegment(key))
    failures = [rig.next(Failure) for _ in range(2)]
    assert {f.key for f in failures} == {0, 1}
    assert "planted" in str(rig.speech.dead)
    rig.speech.post(EndSegment(0))
    assert rig.next(Failure).turn_id == 1
    rig.close()


def fail(*_: object) -> NoReturn:
    raise ValueError("planted in a slot")


@pytest.mark.parametrize("endpointing", ["client", "server"])
@pytest.mark.parametrize("step", ["take", "frame", "heard", "end", "answer", "cancel"])
def test_a_slot_that_fails_costs_only_its_own_session(
    step: str, endpointing: Literal["client", "server"], caplog: pytest.LogCaptureFixture
) -> None:
    pair = Pair(SteppedModel(drops=True), max_sessions=2)
    pair.open(1, SessionOptions(endpointing=endpointing))
    pair.open(2)
    for key in (1, 2):
        pair.say(key, loud(1))
        pair.end(key)
    pair.run(4)
    assert [job.key for job in pair.model.jobs] == [1, 2]
    setattr(pair.speech._slots[1], step, fail)
    pair.cancel(1, 7)  # nobody has ended that: it changes nothing
    for key in (1, 2):
        pair.say(key, loud(1))
        pair.end(key)
    pair.run(4)
    pair.model.at_once = True
    pair.run()
    ended = [e.turn_id for e in pair.events if isinstance(e, SegmentEnded)]
    assert len(ended) == (endpointing == "server"), "or its client would never learn of it"
    assert pair.answers(1) == list(range(2 + len(ended)))
    failures = [e for e in pair.events if isinstance(e, Failure)]
    assert {(e.key, e.code) for e in failures} == {(1, "asr_failed")}
    assert "session 1" in caplog.text
    assert "ValueError: planted in a slot" in caplog.text
    assert pair.speech.problem is None
    assert pair.asr.idle
    finals = [e for e in pair.events if isinstance(e, Transcript) and e.key == 2]
    assert [e.turn_id for e in finals] == [0, 1]
    # Its session goes on to be answered, its audio is given back, and its place is free.
    pair.say(1, loud(1))
    pair.end(1)
    pair.run()
    assert len(pair.answers(1)) == 3 + len(ended)
    consumed = sum(e.samples for e in pair.events if isinstance(e, AudioConsumed) and e.key == 1)
    assert consumed == 3 * SAMPLE_RATE
    pair.speech.post(CloseSlot(1))
    pair.open(3)
    pair.say(3, loud(1))
    pair.end(3)
    pair.run()
    assert pair.answers(3) == [0]
    assert pair.speech._broken == {}


def test_a_model_that_hangs_is_seen_and_its_finals_count_as_lag() -> None:
    class Hanging(Listener):
        def __init__(self) -> None:
            super().__init__()
            self.entered, self.free = threading.Event(), threading.Event()

        def step(self) -> list[Hypothesis]:
            self.entered.set()
            assert self.free.wait(WAIT_S)
            return super().step()

    model, now, out = Hanging(), [0.0], queue.SimpleQueue[Heard]()

    def take(heard: Sequence[Heard]) -> None:
        for one in heard:
            out.put(one)

    lane = AsrLane(model, take, clock=lambda: now[0], step_limit_s=30)
    lane.start()
    pcm = np.zeros(16_000, np.float32)
    for key in range(5):
        lane.post(Submit(AsrJob(key, 0, 0, pcm, is_final=True, queued_at=now[0])))
        assert model.entered.wait(WAIT_S)
        now[0] += 5
    assert lane.lag_s == 25
    assert lane.problem is None
    now[0] = 31
    assert lane.lag_s == 31
    assert "hangs" in str(lane.problem)
    assert "31 s" in str(lane.problem)
    assert lane.dead is None
    model.free.set()
    for _ in range(5):
        out.get(timeout=WAIT_S)
    assert lane.lag_s == 0
    lane.close()
    assert lane.problem is None


def test_while_a_step_lasts_partials_do_not_pile_up() -> None:
    lane = AsrLane(Listener(), lambda _: None)
    jobs = [AsrJob(1, 0, 0, np.zeros(16_000, np.float32), is_final=False) for _ in range(50)]
    for job in jobs:
        lane.post(Submit(job))
    assert len(lane._inbox) == 1
    (heard,) = lane.turn(lane._inbox.drain(0))
    assert heard.hypothesis.job is jobs[-1]


def test_no_final_is_ever_refused() -> None:
    lane = AsrLane(Listener(), lambda _: None)
    for turn in range(1000):
        lane.post(Submit(AsrJob(1, turn, 0, np.zeros(160, np.float32), is_final=True)))
    assert len(lane._inbox) == 1000


def test_one_long_chunk_leaves_no_memory_behind() -> None:
    pair = Pair(SteppedModel(drops=True, at_once=True))
    pair.open(1)
    pair.say(1, quiet(120))
    pair.run(200)
    assert sum(event.samples for event in pair.events if isinstance(event, AudioConsumed)) == (
        120 * 16_000
    )
    assert pair.speech._slots[1]._track._buffer.nbytes <= 4 * 4 * 16_000


def test_a_doubtful_final_goes_round_again() -> None:
    class Doubter(Listener):
        def hear(self, job: AsrJob) -> Hypothesis:
            return Hypothesis(job, (1,), " sure", avg_logprob=-0.1 if job.temperature else -2)

    out: list[Heard] = []
    lane = AsrLane(Doubter(), out.extend, clock=lambda: 0.0)
    final = AsrJob(1, 0, 0, np.zeros(16_000, np.float32), is_final=True)
    heard = lane.turn([Submit(final)])
    rounds = 0
    while not heard:
        heard = lane.turn([])
        rounds += 1
    assert rounds == 2
    assert heard[0].verdict is Verdict.KEEP
    assert heard[0].hypothesis.job.temperature > 0


def test_a_doubtful_partial_does_not() -> None:
    class Doubter(Listener):
        def hear(self, job: AsrJob) -> Hypothesis:
            return Hypothesis(job, (1,), " sure", avg_logprob=-2)

    lane = AsrLane(Doubter(), lambda _: None, clock=lambda: 0.0)
    heard = lane.turn([Submit(AsrJob(1, 0, 0, np.zeros(16_000, np.float32), is_final=False))])
    assert [h.verdict for h in heard] == [Verdict.RETRY]
    assert lane.turn([]) == []
