"""Replies begun before they are asked for: used whole, or never seen."""

from __future__ import annotations

import pytest
from llm_fakes import request
from prometheus_client import REGISTRY
from test_jobs import Desk, delta

from engine.llm.early import Early, Level, Withdraw, level
from engine.llm.jobs import Job
from engine.types import AssumedAfter, Cancel, CloseSlot, Failure


def count(outcome: str, what: str = "replies", after: str = "pause") -> float:
    name = f"antiphon_early_{what}_total"
    return REGISTRY.get_sample_value(name, {"outcome": outcome, "after": after}) or 0.0


def early(desk: Desk, key: int, text: str = "hello", idle: bool = True) -> None:
    assert desk.turn(Early(request(key, text=text), idle=idle)) == []


def test_what_was_made_early_is_the_reply_if_the_same_is_asked_for() -> None:
    desk = Desk(slots=4)
    hits, pieces = count("hit"), count("hit", "pieces")
    early(desk, 1)
    assert desk.say(delta(1, "Call")) == desk.say(delta(1, " and")) == []
    assert desk.turn(desk.job(1)) == [delta(1, "Call"), delta(1, " and")]
    assert desk.say(delta(1, " response"), delta(1, "", "stop")) == [
        delta(1, " response"),
        delta(1, "", "stop"),
    ]
    assert desk.llm.begun == [(1, 0)]
    assert desk.jobs.take_ended() == [(1, 0)]
    assert (count("hit") - hits, count("hit", "pieces") - pieces) == (1, 2)


def test_a_whole_reply_may_be_there_already() -> None:
    desk = Desk(slots=4)
    early(desk, 1)
    assert desk.say(delta(1, "Yes."), delta(1, "", "stop")) == []
    assert desk.jobs.idle
    assert desk.jobs.take_ended() == []
    assert desk.turn(desk.job(1)) == [delta(1, "Yes."), delta(1, "", "stop")]
    assert desk.jobs.take_ended() == [(1, 0)]


def test_if_another_is_asked_for_nobody_sees_what_was_made() -> None:
    desk = Desk(slots=4)
    misses = count("miss")
    early(desk, 1, "What is")
    desk.say(delta(1, "Well"))
    assert desk.turn(desk.job(1)) == []
    assert desk.llm.begun == [(1, 0), (1, 0)]  # the first was let go, the second is the real one
    assert desk.say(delta(1, "Yes", "stop")) == [delta(1, "Yes", "stop")]
    assert count("miss") - misses == 1


def test_the_real_one_waits_until_the_model_has_let_go_of_the_early_one() -> None:
    desk = Desk(slots=4)
    desk.llm.deaf = True
    early(desk, 1, "What is")
    desk.turn(desk.job(1))
    assert desk.say(delta(1, "Well")) == []
    assert desk.llm.begun == [(1, 0)]
    assert desk.say(delta(1, "", "cancelled")) == []
    assert desk.llm.begun == [(1, 0), (1, 0)]
    assert desk.say(delta(1, "Yes", "stop")) == [delta(1, "Yes", "stop")]


def test_what_is_assumed_may_change_be_withdrawn_or_lose_its_session() -> None:
    desk = Desk(slots=4)
    early(desk, 1, "What")
    early(desk, 1, "What is")
    assert desk.llm.begun == [(1, 0), (1, 0)]
    desk.turn(Withdraw(1, 1))
    assert desk.llm.running == [(1, 0)]
    for end in (Withdraw(1, 0), Cancel(1, 0), CloseSlot(1)):
        early(desk, 1)
        assert desk.turn(end) == []
        assert desk.llm.running == []


@pytest.mark.parametrize(
    ("slots", "running", "waiting", "idle", "after", "expected"),
    [
        (4, 0, False, True, "pause", Level.BEGIN),
        (4, 1, False, True, "pause", Level.BEGIN),
        (4, 1, False, False, "pause", Level.PREFILL),  # speech recognition needs the machine
        (4, 2, False, True, "pause", Level.PREFILL),
        (4, 3, False, True, "pause", Level.PREFILL),
        (4, 4, False, True, "pause", Level.NOTHING),
        (4, 1, True, True, "pause", Level.NOTHING),
        (1, 0, False, True, "pause", Level.BEGIN),
        (1, 1, False, True, "pause", Level.NOTHING),
        (4, 0, False, True, "sentence", Level.BEGIN),
        (4, 0, False, False, "sentence", Level.PREFILL),
        (4, 1, False, True, "sentence", Level.PREFILL),
        (4, 4, False, True, "sentence", Level.NOTHING),
    ],
)
def test_how_much_is_done_early_depends_on_the_load(
    slots: int, running: int, waiting: bool, idle: bool, after: AssumedAfter, expected: Level
) -> None:
    assert level(slots, running, waiting, idle, after) is expected


def test_with_half_the_slots_in_use_only_the_prompt_is_computed() -> None:
    desk = Desk(slots=4)
    prefilled = count("prefilled")
    desk.turn(desk.job(1), desk.job(2))
    early(desk, 3)
    assert desk.llm.begun[2:] == [(3, 0)]
    assert desk.llm.lengths[3, 0] == [1]
    assert desk.say(delta(3, "Ye"), delta(3, "", "length")) == []
    assert desk.turn(desk.job(3)) == []
    assert desk.llm.lengths[3, 0] == [1, 32]
    assert desk.say(delta(3, "Yes", "stop")) == [delta(3, "Yes", "stop")]
    assert count("prefilled") - prefilled == 1


def test_a_request_that_comes_while_its_prompt_is_computed_waits_for_no_token_of_it() -> None:
    desk = Desk(slots=4)
    early(desk, 1, idle=False)
    assert desk.turn(desk.job(1)) == []
    desk.turn()
    assert desk.llm.lengths[1, 0] == [1, 32]
    assert desk.say(delta(1, "Yes", "stop")) == [delta(1, "Yes", "stop")]


def test_a_prompt_in_vain_is_counted_as_such() -> None:
    desk = Desk(slots=4)
    before = count("prefilled_miss")
    early(desk, 1, idle=False)
    desk.turn(Withdraw(1, 0))
    early(desk, 2, "What", idle=False)
    desk.turn(desk.job(2))
    assert count("prefilled_miss") - before == 2


def test_the_reply_is_begun_when_there_is_room() -> None:
    desk = Desk(slots=2)
    desk.turn(desk.job(1))
    early(desk, 2)
    desk.say(delta(2, "Ye", "length"))
    assert desk.llm.lengths[2, 0] == [1]
    desk.say(delta(1, "", "stop"))
    assert desk.llm.lengths[2, 0] == [1, 32]
    desk.say(delta(2, "Yes"))
    assert desk.turn(desk.job(2)) == [delta(2, "Yes")]


def test_what_is_announced_again_goes_on_and_may_now_be_begun() -> None:
    """First after a sentence, while somebody else is answered, then after the pause."""
    desk = Desk(slots=4)
    hits = count("hit", after="pause")
    desk.turn(desk.job(2))
    desk.turn(Early(request(1), "sentence"))
    desk.say(delta(1, "Ye", "length"))
    assert desk.llm.lengths[1, 0] == [1]
    desk.turn(Early(request(1), "pause"))
    assert desk.llm.lengths[1, 0] == [1, 32]
    desk.say(delta(1, "Yes"))
    assert desk.turn(desk.job(1)) == [delta(1, "Yes")]
    assert count("hit", after="pause") - hits == 1


def test_what_was_begun_after_a_sentence_is_counted_there() -> None:
    desk = Desk(slots=4)
    hits = count("hit", after="sentence")
    for after in ("sentence", "pause"):
        desk.turn(Early(request(1), after))
    assert desk.llm.lengths[1, 0] == [32]
    desk.turn(desk.job(1))
    assert count("hit", after="sentence") - hits == 1


def test_without_a_slot_nothing_is_begun() -> None:
    desk = Desk(slots=1)
    busy = count("busy")
    desk.turn(desk.job(1))
    early(desk, 2)
    assert desk.llm.begun == [(1, 0)]
    desk.turn(Withdraw(2, 0))
    assert count("busy") - busy == 1


def test_it_makes_room_for_what_is_asked_for() -> None:
    desk = Desk(slots=1)
    early(desk, 1)
    desk.turn(desk.job(2))
    desk.turn()
    assert desk.llm.begun == [(1, 0), (2, 0)]
    assert desk.turn(desk.job(1)) == []
    desk.say(delta(2, "", "stop"))
    assert desk.llm.begun == [(1, 0), (2, 0), (1, 0)]


def test_a_failure_nobody_asked_for_is_not_told_and_the_real_one_is_tried() -> None:
    desk = Desk(slots=4)
    early(desk, 1)
    assert desk.say(Failure(1, 0, "llm_failed", "no")) == []
    assert desk.turn(desk.job(1)) == []
    assert desk.say(delta(1, "Yes", "stop")) == [delta(1, "Yes", "stop")]
    desk.llm.refuse = ValueError("no")
    early(desk, 2)
    desk.llm.refuse = None
    assert desk.turn(desk.job(2)) == []
    assert desk.llm.running == [(2, 0)]


def test_one_that_takes_too_long_is_dropped_and_its_time_counts_from_the_request() -> None:
    desk = Desk(slots=4, timeout_s=10)
    early(desk, 1)
    early(desk, 2)
    desk.clock.now = 9.0
    desk.turn(desk.job(2))
    desk.clock.now = 11.0
    assert desk.turn() == []
    assert desk.llm.running == [(2, 0)]
    desk.clock.now = 19.0
    (event,) = desk.turn()
    assert isinstance(event, Failure)
    assert event.code == "timeout"


def test_when_the_model_breaks_only_what_was_asked_for_is_told() -> None:
    desk = Desk(slots=4)
    early(desk, 1)
    desk.turn(Job(request(2), 0.0))
    assert [event.key for event in desk.jobs.fail_all("broken")] == [2]
