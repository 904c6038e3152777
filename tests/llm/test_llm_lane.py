from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from llm_fakes import PATIENCE_S, FakeLlm, is_ending, request
from patience import wait_until

from engine.config import EngineSettings
from engine.errors import LlmFailed, ModelError, Overloaded
from engine.llm.echo import Echo
from engine.llm_lane import LlmLane
from engine.types import Event, Failure, ResponseDelta

SETTINGS = EngineSettings(llm="echo", llm_slots=2, llm_queue=2)


class Ear:
    """What a lane delivered, and a way to wait for it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.batches = 0
        self._changed = threading.Condition()

    def __call__(self, events: Sequence[Event]) -> None:
        assert events
        with self._changed:
            self.events += events
            self.batches += 1
            self._changed.notify_all()

    def wait_for(self, heard: Callable[[list[Event]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: heard(self.events), PATIENCE_S)

    def wait_for_endings(self, count: int) -> list[Event]:
        self.wait_for(lambda _: len(self.endings()) >= count)
        return self.endings()

    def endings(self) -> list[Event]:
        return [event for event in self.events if is_ending(event)]


class Stage:
    """A lane over a fake model whose ``says`` the test fills, waking the lane."""

    def __init__(self, settings: EngineSettings = SETTINGS, llm: FakeLlm | None = None) -> None:
        self.llm = llm or FakeLlm(settings.llm_slots)
        self.ear = Ear()
        self.lane = LlmLane(self._load, settings, self.ear)

    def _load(self, wake):
        self.llm.wake = wake
        return self.llm

    def say(self, *events: Event) -> None:
        self.llm.says.extend(events)
        self.llm.wake()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    stage.lane.begin()
    stage.lane.wait_ready()
    yield stage
    stage.lane.close()


def test_a_request_is_answered(stage: Stage) -> None:
    assert stage.lane.alive
    assert stage.lane.name == "fake"
    stage.lane.submit(request(1))
    stage.say(ResponseDelta(1, 0, "Hi"), ResponseDelta(1, 0, "", "stop"))
    stage.ear.wait_for_endings(1)
    assert stage.ear.events == [ResponseDelta(1, 0, "Hi"), ResponseDelta(1, 0, "", "stop")]


def test_what_one_turn_brings_comes_in_one_delivery(stage: Stage) -> None:
    stage.lane.submit(request(1))
    stage.say(*(ResponseDelta(1, 0, str(n)) for n in range(9)), ResponseDelta(1, 0, "", "stop"))
    stage.ear.wait_for_endings(1)
    assert len(stage.ear.events) == 10
    assert stage.ear.batches == 1


def test_more_than_slots_and_queue_hold_are_refused_and_told_nothing(stage: Stage) -> None:
    for key in range(4):
        stage.lane.submit(request(key))
    with pytest.raises(Overloaded):
        stage.lane.submit(request(9))
    stage.lane.cancel(3, 0)
    stage.ear.wait_for_endings(1)
    stage.lane.submit(request(5))
    stage.lane.close()
    assert {event.key for event in stage.ear.endings()} == {0, 1, 2, 3, 5}


def test_cancel_may_come_twice_and_late(stage: Stage) -> None:
    stage.lane.submit(request(1))
    stage.lane.cancel(1, 0)
    stage.lane.cancel(1, 0)
    stage.lane.cancel(7, 0)
    assert stage.ear.wait_for_endings(1) == [ResponseDelta(1, 0, "", "cancelled")]
    stage.lane.cancel(1, 0)
    stage.lane.submit(request(1, 1))
    stage.say(ResponseDelta(1, 1, "", "stop"))
    assert stage.ear.wait_for_endings(2)[1] == ResponseDelta(1, 1, "", "stop")


def test_a_deadline_needs_nobody_to_wake_the_lane() -> None:
    stage = Stage(SETTINGS.model_copy(update={"llm_timeout_s": 0.05}))
    stage.lane.begin()
    stage.lane.wait_ready()
    stage.lane.submit(request(1))
    (ending,) = stage.ear.wait_for_endings(1)
    assert isinstance(ending, Failure)
    assert ending.code == "timeout"
    stage.lane.close()


def test_a_model_that_does_not_let_go_of_a_reply_is_told_and_forgiven() -> None:
    stage = Stage(SETTINGS.model_copy(update={"llm_timeout_s": 0.05, "step_timeout_s": 0.05}))
    stage.llm.deaf = True
    stage.lane.begin()
    stage.lane.wait_ready()
    stage.lane.submit(request(1))
    (ending,) = stage.ear.wait_for_endings(1)
    assert isinstance(ending, Failure)
    wait_until(lambda: stage.lane.problem is not None)
    assert "hangs" in str(stage.lane.problem)
    assert stage.lane.dead is None
    stage.say(ResponseDelta(1, 0, "", "cancelled"))
    wait_until(lambda: stage.lane.problem is None)
    stage.llm.deaf = False
    stage.lane.close()


def test_a_step_that_hangs_is_told() -> None:
    stage = Stage(SETTINGS.model_copy(update={"step_timeout_s": 0.05}))
    let_go, step = threading.Event(), stage.llm.step

    def hang():
        assert let_go.wait(PATIENCE_S)
        return step()

    stage.llm.step = hang
    stage.lane.begin()
    stage.lane.wait_ready()
    stage.lane.submit(request(1))
    stage.llm.wake()
    wait_until(lambda: stage.lane.problem is not None)
    assert "hangs" in str(stage.lane.problem)
    let_go.set()
    wait_until(lambda: stage.lane.problem is None)
    stage.lane.close()


def test_a_request_that_the_model_refuses_is_logged_with_its_session_and_turn(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.llm.refuse = RuntimeError("planted")
    stage.lane.submit(request(4, 2))
    stage.ear.wait_for_endings(1)
    assert "session 4 turn 2" in caplog.text
    assert "RuntimeError: planted" in caplog.text


def test_when_the_model_breaks_all_are_told_and_later_requests_fail_at_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    for key in range(3):
        stage.lane.submit(request(key))
    stage.llm.broken = RuntimeError("out of memory")
    stage.llm.wake()
    endings = stage.ear.wait_for_endings(3)
    assert {(event.key, event.code) for event in endings} == {(k, "llm_failed") for k in range(3)}
    assert not stage.lane.alive
    assert stage.lane.dead == stage.lane.problem is not None
    assert "RuntimeError: out of memory" in caplog.text
    assert "session 0 turn 0, session 1 turn 0" in caplog.text
    assert "out of memory" in str(stage.lane.problem)
    with pytest.raises(LlmFailed, match="out of memory"):
        stage.lane.submit(request(9))
    stage.lane.close()
    assert stage.llm.closed


def test_close_answers_everything_and_joins(stage: Stage) -> None:
    for key in range(4):
        stage.lane.submit(request(key))
    stage.lane.close()
    endings = stage.ear.endings()
    assert sorted(event.key for event in endings) == [0, 1, 2, 3]
    assert {event.finish_reason for event in endings} == {"cancelled"}
    assert stage.llm.closed
    assert not stage.lane.alive
    with pytest.raises(LlmFailed, match="shutting down"):
        stage.lane.submit(request(9))


def test_a_model_that_does_not_load_is_an_error_that_says_why() -> None:
    def load(wake):
        raise ModelError("there is no such file")

    lane = LlmLane(load, SETTINGS, Ear())
    lane.begin()
    with pytest.raises(ModelError, match="no such file"):
        lane.wait_ready()
    assert not lane.alive
    lane.close()


def test_a_model_that_does_not_warm_up_is_an_error_and_is_freed() -> None:
    llm = FakeLlm()
    llm.broken = RuntimeError("illegal instruction")
    stage = Stage(llm=llm)
    stage.lane.begin()
    with pytest.raises(ModelError, match="illegal instruction"):
        stage.lane.wait_ready()
    stage.lane.close()
    assert llm.closed


def test_many_threads_may_submit_and_cancel() -> None:
    ear = Ear()
    settings = SETTINGS.model_copy(update={"llm_queue": 1000})
    lane = LlmLane(lambda wake: Echo(2), settings, ear)
    lane.begin()
    lane.wait_ready()

    def talk(key: int) -> None:
        for turn_id in range(20):
            lane.submit(request(key, turn_id, "one two three"))
            if turn_id % 3 == 0:
                lane.cancel(key, turn_id)

    threads = [threading.Thread(target=talk, args=(key,)) for key in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    endings = ear.wait_for_endings(160)
    lane.close()
    assert len({(event.key, event.turn_id) for event in endings}) == len(endings) == 160
