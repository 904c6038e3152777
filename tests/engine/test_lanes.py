"""The speech lane and the speech model's lane: threads, with fake models and no waiting."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from lane_fakes import Listener, LoudIsSpeech

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.guards import Verdict
from engine.asr_lane import AsrLane, Heard, Submit
from engine.config import EngineSettings
from engine.speech_lane import SpeechLane
from engine.types import (
    AudioChunk,
    AudioConsumed,
    CloseSlot,
    EndSegment,
    Event,
    Failure,
    OpenSlot,
    SessionOptions,
    Transcript,
)

WAIT_S = 10


class Rig:
    """Both lanes running; events come out of a queue."""

    def __init__(self, backend: Listener) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.vad, self.backend = LoudIsSpeech(), backend
        settings = EngineSettings(max_sessions=8)
        self.speech = SpeechLane(self.vad, backend.decode, settings, self._deliver)
        self.asr = AsrLane(backend, self.speech.answer)
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
        rig.speech.post(EndSegment(key, 0.0))
    finals = [rig.next(Transcript) for _ in range(8)]
    texts = {f.key: f.text for f in finals if isinstance(f, Transcript)}
    assert texts == {key: f"{key}:{key + 1}" for key in range(8)}
    assert max(rig.vad.batches) > 1


def test_all_audio_is_given_back(rig: Rig) -> None:
    rig.speech.post(OpenSlot(3, SessionOptions()))
    for _ in range(10):
        rig.say(3, 0.3)
    rig.speech.post(EndSegment(3, 0.0))
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
    rig.speech.post(EndSegment(99, 0.0))
    final = rig.next(Transcript)
    assert isinstance(final, Transcript)
    assert (final.key, final.text) == (99, "99:2")


def test_a_broken_model_answers_every_turn_and_is_reported() -> None:
    rig = Rig(Listener(MemoryError("no room")))
    for key in range(3):
        rig.speech.post(OpenSlot(key, SessionOptions()))
        rig.say(key, 1)
        rig.speech.post(EndSegment(key, 0.0))
    failures = [rig.next(Failure) for _ in range(3)]
    assert {f.code for f in failures if isinstance(f, Failure)} == {"asr_failed"}
    assert "no room" in str(rig.asr.problem)
    rig.close()


def test_a_doubtful_final_goes_round_again() -> None:
    class Doubter(Listener):
        def step(self) -> list[Hypothesis]:
            return [
                Hypothesis(j, (1,), " sure", avg_logprob=-0.1 if j.temperature else -2)
                for j in self.jobs
            ]

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
        def step(self) -> list[Hypothesis]:
            return [Hypothesis(j, (1,), " sure", avg_logprob=-2) for j in self.jobs]

    lane = AsrLane(Doubter(), lambda _: None, clock=lambda: 0.0)
    heard = lane.turn([Submit(AsrJob(1, 0, 0, np.zeros(16_000, np.float32), is_final=False))])
    assert [h.verdict for h in heard] == [Verdict.RETRY]
    assert lane.turn([]) == []
