from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_fakes import FakeLlm, is_ending, request

from engine.llm.early import Early, Withdraw
from engine.llm.jobs import Command, Job, LlmJobs
from engine.types import Cancel, CloseSlot, Failure, LlmEvent, ResponseDelta


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """Jobs over a fake model and a clock that stands still."""

    def __init__(self, slots: int = 2, timeout_s: float = 10.0) -> None:
        self.llm = FakeLlm(slots)
        self.clock = Clock()
        self.jobs = LlmJobs(self.llm, timeout_s, self.clock)

    def job(self, key: int, turn_id: int = 0) -> Job:
        return Job(request(key, turn_id), self.clock.now)

    def turn(self, *commands: Command) -> list[LlmEvent]:
        return self.jobs.turn(commands)

    def say(self, *events: LlmEvent) -> list[LlmEvent]:
        self.llm.says.extend(events)
        return self.turn()


def delta(key: int, text: str = "", reason=None, turn_id: int = 0) -> ResponseDelta:
    return ResponseDelta(key, turn_id, text, reason)


def test_first_come_first_served() -> None:
    desk = Desk(slots=2)
    desk.turn(*(desk.job(key) for key in range(4)))
    assert desk.llm.begun == [(0, 0), (1, 0)]
    desk.say(delta(1, "hi", "stop"))
    assert desk.llm.begun == [(0, 0), (1, 0), (2, 0)]


def test_a_sessions_requests_keep_their_order() -> None:
    desk = Desk(slots=2)
    desk.turn(desk.job(1, 0), desk.job(1, 1), desk.job(2))
    assert desk.llm.begun == [(1, 0), (2, 0)]
    desk.say(delta(2, reason="stop"))
    assert desk.llm.begun == [(1, 0), (2, 0)]
    desk.say(delta(1, reason="stop"))
    assert desk.llm.begun == [(1, 0), (2, 0), (1, 1)]


def test_deltas_pass_in_order() -> None:
    desk = Desk()
    desk.turn(desk.job(1))
    said = [delta(1, "a"), delta(1, "b"), delta(1, "", "length")]
    assert desk.say(*said) == said
    assert desk.jobs.take_ended() == [(1, 0)]
    assert desk.jobs.idle


def test_a_waiting_request_is_cancelled_at_once() -> None:
    desk = Desk(slots=1)
    desk.turn(desk.job(1), desk.job(2))
    assert desk.turn(Cancel(2, 0), Cancel(2, 0)) == [delta(2, reason="cancelled")]
    desk.say(delta(1, reason="stop"))
    assert desk.llm.begun == [(1, 0)]


def test_a_running_request_ends_when_the_model_says_so() -> None:
    desk = Desk()
    desk.turn(desk.job(1))
    desk.llm.says.append(delta(1, "Hel"))
    assert desk.turn(Cancel(1, 0)) == [delta(1, "Hel"), delta(1, reason="cancelled")]
    assert desk.turn(Cancel(1, 0)) == []


def test_a_request_that_waits_too_long_times_out() -> None:
    desk = Desk(slots=1, timeout_s=10)
    desk.turn(desk.job(1))
    desk.clock.now = 4.0
    desk.turn(desk.job(2))
    assert desk.jobs.wait_s() == 6.0
    desk.say(delta(1, "still talking"))
    desk.clock.now = 14.0
    events = desk.turn()
    assert [(event.key, event.code) for event in events if isinstance(event, Failure)] == [
        (1, "timeout"),
        (2, "timeout"),
    ]
    assert desk.llm.begun == [(1, 0)]


def test_after_its_deadline_a_reply_is_silent_and_frees_its_slot_when_the_model_lets_go() -> None:
    desk = Desk(slots=1)
    desk.llm.deaf = True
    desk.turn(desk.job(1))
    desk.clock.now = 10.0
    assert [event.key for event in desk.turn()] == [1]
    assert desk.jobs.wait_s() is None
    assert desk.say(delta(1, "too late")) == []
    desk.turn(desk.job(2))
    assert desk.llm.begun == [(1, 0)]
    assert desk.say(delta(1, reason="stop")) == []
    assert desk.llm.begun == [(1, 0), (2, 0)]


def test_a_refused_job_fails_alone() -> None:
    desk = Desk()
    desk.turn(desk.job(1))
    desk.llm.refuse = ValueError("bad request")
    (failure,) = desk.turn(desk.job(2))
    assert isinstance(failure, Failure)
    assert (failure.key, failure.code) == (2, "llm_failed")
    assert "bad request" in failure.message
    assert desk.say(delta(1, "fine", "stop")) == [delta(1, "fine", "stop")]


def test_when_the_model_breaks_every_job_is_told_and_nothing_said_is_lost() -> None:
    desk = Desk(slots=1)
    desk.turn(desk.job(1), desk.job(2))
    desk.llm.broken = RuntimeError("out of memory")
    with pytest.raises(RuntimeError):
        desk.turn(Cancel(2, 0), desk.job(3))
    events = desk.jobs.fail_all("the model broke")
    assert events == [
        delta(2, reason="cancelled"),
        Failure(1, 0, "llm_failed", "the model broke"),
        Failure(3, 0, "llm_failed", "the model broke"),
    ]
    assert desk.jobs.idle


def test_a_forgotten_sessions_waiting_requests_go_without_a_word() -> None:
    desk = Desk(slots=1)
    desk.turn(desk.job(1, 0), desk.job(1, 1), desk.job(2))
    assert desk.turn(CloseSlot(1)) == [delta(1, reason="cancelled")]
    assert desk.llm.forgotten == [1]
    assert desk.llm.begun == [(1, 0), (2, 0)]
    assert set(desk.jobs.take_ended()) == {(1, 0), (1, 1)}


ids = st.tuples(st.integers(0, 4), st.integers(0, 3))
steps = st.one_of(
    st.tuples(st.just("submit"), ids),
    st.tuples(st.just("cancel"), ids),
    st.tuples(st.just("refuse"), ids),
    st.tuples(st.just("early"), ids),
    st.tuples(st.just("early, otherwise"), ids),
    st.tuples(st.just("withdraw"), ids),
    st.tuples(st.just("say"), st.integers(0, 7)),
    st.tuples(st.just("end"), st.integers(0, 7)),
    st.tuples(st.just("fail"), st.integers(0, 7)),
    st.tuples(st.just("end twice"), st.integers(0, 7)),
    st.tuples(st.just("later"), st.floats(0, 8)),
)


class Story:
    """A random history of a desk, and what was heard of each request."""

    def __init__(self) -> None:
        self.desk = Desk(slots=2)
        self.submitted: list[tuple[int, int]] = []
        self.begun: list[tuple[int, int]] = []  # after they were asked for
        self.heard: dict[tuple[int, int], list[LlmEvent]] = {}

    def run(self, *commands: Command) -> None:
        before = len(self.desk.llm.begun)
        for event in self.desk.turn(*commands):
            self.heard.setdefault((event.key, event.turn_id), []).append(event)
        self.begun += [asked for asked in self.desk.llm.begun[before:] if asked in self.submitted]

    def step(self, what: str, which) -> None:
        running = self.desk.llm.running
        if what == "submit" and which not in self.submitted:
            self.submitted.append(which)
            self.run(self.desk.job(*which))
        elif what == "refuse" and which not in self.submitted:
            self.submitted.append(which)
            self.desk.llm.refuse = ValueError("no")
            self.run(self.desk.job(*which))
            self.desk.llm.refuse = None
        elif what.startswith("early") and which not in self.submitted:
            self.run(Early(request(*which, text="hello" if what == "early" else "bye")))
        elif what == "withdraw":
            self.run(Withdraw(*which))
        elif what == "cancel":
            self.run(Cancel(*which))
        elif what == "later":
            self.desk.clock.now += which
            self.run()
        elif running and what in ("say", "end", "fail", "end twice"):
            self.hear(what, *running[which % len(running)])

    def hear(self, what: str, key: int, turn_id: int) -> None:
        end = ResponseDelta(key, turn_id, "", "stop")
        self.desk.llm.says.extend(
            {
                "say": [ResponseDelta(key, turn_id, "word")],
                "end": [end],
                "end twice": [end, end],
                "fail": [Failure(key, turn_id, "llm_failed", "no")],
            }[what]
        )
        self.run()


@given(st.lists(steps, max_size=60))
def test_every_request_ends_exactly_once_and_says_nothing_after(history) -> None:
    story = Story()
    for what, which in history:
        story.step(what, which)
        assert len(story.desk.llm.running) <= story.desk.llm.slots
    story.desk.clock.now += 100
    while not story.desk.jobs.idle:
        story.run()
    for asked in story.submitted:
        events = story.heard[asked]
        assert [is_ending(event) for event in events] == [False] * (len(events) - 1) + [True]
    assert Counter(story.heard.keys()) == Counter(story.submitted)  # early ones are not heard
    assert Counter(story.desk.jobs.take_ended()) == Counter(story.submitted)
    for key in range(5):
        begun = [turn_id for k, turn_id in story.begun if k == key]
        asked_order = [turn_id for k, turn_id in story.submitted if k == key]
        assert begun == [turn_id for turn_id in asked_order if turn_id in begun]
