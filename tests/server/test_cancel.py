"""Which turn a ``cancel`` stops: the one that the client means, however late it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace

from harness import (
    CANCEL,
    END,
    RAW,
    chunk,
    eventually,
    in_loop,
    pcm_s16le,
    running,
)
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from test_session import POLICY

from engine.types import ResponseDelta, SpeechStarted, Transcript
from server.conversations import Conversation
from server.messages import ChatbotResponse, SegmentProcessed
from server.session import CancelTurn, Effect, Send, Session


def answers(effects: list[Effect]) -> list[ChatbotResponse]:
    sent = [effect.message for effect in effects if isinstance(effect, Send)]
    return [message for message in sent if isinstance(message, ChatbotResponse)]


def say(session: Session, turn_id: int, *, ends: bool = False) -> list[Effect]:
    """The turn's words, and its reply as far as its first piece or to its end."""
    session.event(Transcript(0, turn_id, f"words {turn_id}", 7, is_final=True), 0.1)
    return session.event(ResponseDelta(0, turn_id, "Well", "stop" if ends else None), 0.2)


def opened(turns: int) -> Session:
    session = Session(0, POLICY, Conversation(max_turns=8))
    for _ in range(turns):
        session.segment_end(0.0)
    return session


def test_a_cancel_that_crosses_the_answer_leaves_the_next_turn_alone() -> None:
    session = opened(1)
    say(session, 0, ends=True)
    session.segment_end(0.22)
    assert session.cancel(0.25) == []
    say(session, 1)
    assert session.cancel(0.3) == []  # nor can the client have seen this reply begin
    session.answer_read()
    (answer,) = answers(session.cancel(0.35))
    assert (answer.turn, answer.cancelled) == (1, True)


def test_what_ended_by_an_earlier_cancel_is_known_to_the_client() -> None:
    session = opened(2)
    say(session, 0)
    stopped = answers(session.cancel(0.3)) + answers(session.cancel(0.3))
    assert [(answer.turn, answer.cancelled) for answer in stopped] == [(0, True), (1, True)]


def test_what_speech_has_ended_the_client_learns_from_the_answer() -> None:
    session = Session(0, replace(POLICY, barge_in=True), Conversation(max_turns=8))
    session.segment_end(0.0)
    say(session, 0)
    assert answers(session.event(SpeechStarted(0, 1, 1.0), 1.0))[0].cancelled
    session.segment_end(1.5)
    assert session.cancel(1.5) == []


def test_a_cancel_that_names_its_turn_stops_that_one_or_none() -> None:
    session = opened(1)
    say(session, 0, ends=True)
    session.segment_end(0.22)
    assert session.cancel(0.25, turn_id=0) == []
    assert session.cancel(0.25, turn_id=2) == []  # has not ended yet
    (answer,) = answers(session.cancel(0.3, turn_id=1))
    assert (answer.turn, answer.cancelled) == (1, True)


def test_a_later_turn_that_is_cancelled_is_answered_when_it_is_next() -> None:
    session = opened(3)
    say(session, 0)
    assert session.cancel(0.3, turn_id=1) == [CancelTurn(1)]
    assert session.cancel(0.3, turn_id=1) == []
    assert session.event(Transcript(0, 1, "too late", 3, is_final=True), 0.3) == []
    session.event(Transcript(0, 2, "words 2", 3, is_final=True), 0.3)
    done = answers(session.event(ResponseDelta(0, 0, "", "stop"), 0.4))
    assert [(answer.turn, answer.cancelled) for answer in done] == [(0, None), (1, True)]
    done = answers(session.event(ResponseDelta(0, 2, "And", "stop"), 0.5))
    assert [(answer.turn, answer.response) for answer in done] == [(2, "And")]


class Crossing(RuleBasedStateMachine):
    """A client that names no turns, behind a network that is as slow as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(0, POLICY, Conversation(max_turns=8))
        self.down: deque[str] = deque()
        self.up: deque[str | int] = deque()  # a number: a cancel that means this turn
        self.ended = self.read = self.stopped = 0  # as the client knows
        self.heard = self.taken = 0  # as the server knows

    def take(self, effects: list[Effect], meant: int | None = None) -> None:
        for effect in effects:
            if isinstance(effect, CancelTurn):
                assert effect.turn_id == meant
            elif isinstance(effect, Send) and isinstance(effect.message, SegmentProcessed):
                self.down.append("answer")

    @precondition(lambda self: self.ended < 6)
    @rule()
    def client_ends_a_segment(self) -> None:
        self.ended += 1
        self.up.append("end")

    @rule()
    def client_cancels(self) -> None:
        meant = max(self.read, self.stopped)
        if meant < self.ended:
            self.up.append(meant)
            self.stopped = meant + 1

    @rule()
    def client_reads(self) -> None:
        if self.down:
            self.down.popleft()
            self.read += 1
            self.up.append("pong")

    @rule()
    def server_reads(self) -> None:
        match self.up.popleft() if self.up else None:
            case "end":
                self.taken += 1
                self.take(self.session.segment_end(0.0))
            case "pong":
                self.session.answer_read()
            case int(meant):
                before = self.taken - self.session.pending
                self.take(self.session.cancel(0.0), meant)
                if before == meant and not self.down and "pong" not in self.up:
                    assert self.taken - self.session.pending > meant, "the one it meant is stopped"

    @rule(text=st.sampled_from(["", "words"]))
    def transcript(self, text: str) -> None:
        if self.heard < self.taken:
            event = Transcript(0, self.heard, text, 0, is_final=True)
            self.heard += 1
            self.take(self.session.event(event, 0.0))

    @rule(reason=st.sampled_from([None, "stop"]))
    def reply(self, reason: None) -> None:
        oldest = self.taken - self.session.pending
        self.take(self.session.event(ResponseDelta(0, oldest, "Well", reason), 0.0))


TestCrossing = Crossing.TestCase
TestCrossing.settings = hypothesis_settings(
    max_examples=200, stateful_step_count=40, deadline=None, database=None
)


@in_loop
async def test_over_a_socket_the_pong_tells_that_an_answer_was_read() -> None:
    async with running(holds=["llm"]) as server, server.talk(audio=RAW, events=["token"]) as client:
        await client.send(chunk(pcm_s16le(100)), END, chunk(pcm_s16le(200)), END)
        await eventually(lambda: len(server.engine.requests) == 1)
        client.socket.transport.pause_reading()
        server.engine.reply(server.engine.requests[0])  # ends while the cancel is on its way
        await eventually(lambda: len(server.engine.requests) == 2)
        await client.send(CANCEL)
        await asyncio.sleep(0.05)
        assert server.engine.cancelled == []
        client.socket.transport.resume_reading()
        assert (await client.until("segment_processed"))[-2]["turn"] == 0
        await asyncio.sleep(0.05)  # the library sends the pong
        await client.send(CANCEL)
        answer = (await client.until("segment_processed"))[-2]
        assert (answer["turn"], answer["cancelled"]) == (1, True)


@in_loop
async def test_unknown_fields_are_warned_of_in_the_next_answer() -> None:
    async with running() as server, server.talk(audio=RAW) as client:
        await client.send({**CANCEL, "trun": 3}, {**CANCEL, "trun": 4})
        await client.send(chunk(pcm_s16le(100)) | {"rate": 8000}, {**END, "colour": "red"}, END)
        first = (await client.until("segment_processed"))[-2]
        assert first["warnings"] == [
            'unknown field "trun" in cancel',
            'unknown field "rate" in audio_chunk',
            'unknown field "colour" in segment_end',
        ]
        assert "warnings" not in (await client.until("segment_processed"))[-2]
        for bad in ("0", -1, 1.5, True):
            await client.send({**CANCEL, "turn": bad})
            assert (await client.get())["code"] == "bad_message"
