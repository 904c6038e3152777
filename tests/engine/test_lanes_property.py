"""Both lanes through random interleavings: every end is answered once, and nothing is left over.

``ANTIPHON_LANE_EXAMPLES`` asks for more of them than a test run has time for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_pair import OUTCOMES, Pair, SteppedModel, loud, quiet

from engine.types import (
    AudioConsumed,
    CloseSlot,
    Failure,
    Pcm,
    SegmentEnded,
    SessionOptions,
    Transcript,
)

SESSIONS = 3
EXAMPLES = int(os.environ.get("ANTIPHON_LANE_EXAMPLES", "120"))

who = st.integers(0, SESSIONS - 1)
seconds = st.sampled_from([0.01, 0.1, 0.25, 0.6, 1.0, 2.5, 7.0])
actions = st.one_of(
    st.tuples(st.just("say"), who, seconds),
    st.tuples(st.just("say"), who, seconds),
    st.tuples(st.just("pause"), who, seconds),
    st.tuples(st.just("end"), who),
    st.tuples(st.just("end"), who),
    st.tuples(st.just("cancel"), who, st.integers(0, 3)),
    st.tuples(st.just("reopen"), who),
    st.tuples(st.just("speech"), st.integers(1, 4)),
    st.tuples(st.just("asr"), st.integers(1, 3)),
    st.tuples(st.just("both"), st.integers(1, 4)),
    st.tuples(st.just("result"), st.integers(0, 5), st.sampled_from(OUTCOMES)),
    st.tuples(st.just("result"), st.integers(0, 5), st.just("heard")),
)
breakages = st.sampled_from(
    [None, None, None, None, "model", "vad", "asr lane"]
    + [("slot", step) for step in ("take", "frame", "heard", "end", "answer", "cancel")]
)
options = st.builds(
    SessionOptions,
    endpointing=st.sampled_from(["client", "server"]),
    partials=st.booleans(),
    words=st.booleans(),
)


@dataclass
class Opening:
    """One opening of a session, as its connection sees it."""

    key: int
    options: SessionOptions
    ended: int = 0
    cancelled: set[int] = field(default_factory=set)
    silenced: set[int] = field(default_factory=set)  # the lane has taken the cancel
    answered: list[int] = field(default_factory=list)
    samples_out: int = 0  # fed and not given back


class World:
    """Drives the lanes, and holds what they tell against what the sessions did."""

    def __init__(self, drops: bool, wanted: list[SessionOptions]) -> None:
        self.pair = Pair(SteppedModel(drops), max_sessions=SESSIONS, window_s=5, max_buffered_s=5)
        self.wanted = wanted
        self.openings: dict[int, Opening] = {}
        self.current: list[Opening] = [self.open(index) for index in range(SESSIONS)]
        self.broken = False

    def open(self, index: int) -> Opening:
        made = Opening(len(self.openings), self.wanted[index])
        self.openings[made.key] = made
        self.pair.open(made.key, made.options)
        return made

    def do(self, action: tuple) -> None:
        match action:
            case ("say", index, length):
                self.hear(self.current[index], loud(length))
            case ("pause", index, length):
                self.hear(self.current[index], quiet(length))
            case ("end", index):
                self.current[index].ended += 1
                self.pair.end(self.current[index].key)
            case ("cancel", index, back):
                self.cancel(self.current[index], back)
            case ("reopen", index):
                self.close(self.current[index])
                self.current[index] = self.open(index)
            case ("result", index, outcome):
                self.pair.model.let_go(index, outcome)
            case ("speech", steps):
                self.step(steps, asr=False)
            case ("asr", steps):
                self.step(steps, speech=False)
            case ("both", steps):
                self.step(steps)

    def hear(self, opening: Opening, pcm: Pcm) -> None:
        opening.samples_out += len(pcm)
        self.pair.say(opening.key, pcm)

    def cancel(self, opening: Opening, back: int) -> None:
        """Of a turn that has ended: a reply may be cancelled whose transcript is out already."""
        if (turn_id := opening.ended - 1 - back) >= 0:
            opening.cancelled.add(turn_id)
            self.pair.cancel(opening.key, turn_id)

    def close(self, opening: Opening) -> None:
        self.pair.speech.post(CloseSlot(opening.key))

    def fault(self, kind: str | tuple[str, str] | None) -> None:
        match kind:
            case "model":
                self.pair.model.broken = RuntimeError("planted")
            case "vad":
                self.pair.vad.error = RuntimeError("planted")
            case "asr lane":
                self.pair.speech.stop("planted")
            case ("slot", step):  # of one session: all others are heard as before
                for slot in list(self.pair.speech._slots.values())[:1]:
                    setattr(slot, step, self.raise_planted)
                return
        self.broken |= kind is not None

    @staticmethod
    def raise_planted(*_: object) -> NoReturn:
        raise RuntimeError("planted")

    def step(self, steps: int, speech: bool = True, asr: bool = True) -> None:
        for _ in range(steps):
            self.pair.now += 0.01
            if speech:
                self.speech_step()
            if asr:
                self.pair.asr_step()

    def speech_step(self) -> bool:
        more = self.pair.speech_step()
        for event in self.pair.events:
            opening = self.openings[event.key]
            if isinstance(event, SegmentEnded):
                opening.ended += 1
            elif isinstance(event, AudioConsumed):
                opening.samples_out -= event.samples
            elif isinstance(event, Failure) or (isinstance(event, Transcript) and event.is_final):
                self.take(opening, event)
            elif isinstance(event, Transcript):
                assert event.turn_id not in opening.silenced
        self.pair.events.clear()
        for opening in self.openings.values():
            opening.silenced |= opening.cancelled
        return more

    def take(self, opening: Opening, event: Failure | Transcript) -> None:
        turn_id = event.turn_id
        assert turn_id < opening.ended, "an answer before the end"
        assert turn_id not in opening.silenced, "an answer to what was cancelled"
        assert turn_id not in opening.answered, "two answers"
        assert not opening.answered or turn_id > opening.answered[-1], "answers out of order"
        opening.answered.append(turn_id)

    def settle(self) -> None:
        """Everything that can happen happens: a minute of audio, and every job comes back."""
        self.pair.model.at_once = True
        for _ in range(2000):
            more = self.speech_step()
            self.pair.asr_step()
            if not (more or len(self.pair.speech._inbox)) and self.pair.asr.idle:
                return
        raise AssertionError("stuck")

    def check(self) -> None:
        for opening in self.current:
            owed = set(range(opening.ended)) - opening.cancelled - set(opening.answered)
            assert owed == set(), f"session {opening.key} waits for {owed}"
            assert opening.samples_out == 0, f"session {opening.key} is held back"


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.booleans(),
    st.lists(options, min_size=SESSIONS, max_size=SESSIONS),
    st.lists(actions, max_size=50),
    breakages,
    st.lists(actions, max_size=10),
)
def test_every_end_is_answered_once_and_nothing_is_left(
    drops: bool,
    wanted: list[SessionOptions],
    before: list[tuple],
    fault: str | tuple[str, str] | None,
    after: list[tuple],
) -> None:
    world = World(drops, wanted)
    for action in before:
        world.do(action)
    world.fault(fault)
    for action in after:
        world.do(action)
    for opening in world.current:  # nobody is deaf
        world.hear(opening, np.concatenate([loud(1), quiet(0.3)]))
        world.do(("end", world.current.index(opening)))
    world.settle()
    world.check()
    if not world.broken:
        assert world.pair.speech.problem is None
    lanes = world.pair
    assert (lanes.asr.lag_s, len(lanes.asr._scheduler), lanes.asr._submitted) == (0, 0, {})
    assert lanes.speech._ledger.owed() == []
    for slot in lanes.speech._slots.values():
        assert (list(slot._closed), slot._undecoded_samples, slot._cancelled) == ([], 0, set())
        assert slot.audio.ends == 0
    for opening in world.current:
        world.close(opening)
    world.settle()
    assert lanes.speech._slots == {}
    assert lanes.speech._active == {}
    if not world.broken:
        assert sorted(lanes.speech._free_rows) == list(range(SESSIONS))
        assert lanes.model.active == 0
