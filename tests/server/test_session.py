"""The session's promise under any order of events: one answer to each segment's end, in order."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.types import (
    Assumed,
    Failure,
    ResponseDelta,
    Sampling,
    SegmentEnded,
    SpeechStarted,
    Transcript,
)
from server.conversations import Conversation
from server.messages import (
    ChatbotResponse,
    PartialTranscription,
    ResponsePiece,
    ResponseSentence,
    SegmentProcessed,
    Transcription,
)
from server.protocol import EVENTS
from server.session import (
    LLM_FAILSAFE_S,
    Anticipate,
    CancelTurn,
    Effect,
    EndSegment,
    Generate,
    Send,
    Session,
    SessionPolicy,
    Withdraw,
)

POLICY = SessionPolicy(
    "llm", "system", 10, Sampling(), segment_timeout_s=5, llm_timeout_s=5, events=EVENTS
)
turn_ids = st.integers(0, 12)
finish_reasons = st.sampled_from([None, None, "stop", "length", "cancelled"])


class SessionMachine(RuleBasedStateMachine):
    policy = POLICY

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(0, self.policy, Conversation(max_turns=4))
        self.now = 0.0
        self.ended = 0
        self.sent: list[object] = []
        self.generated: list[int] = []

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append(effect.message)
            elif isinstance(effect, Generate):
                self.generated.append(effect.request.turn_id)

    @rule()
    def client_ends_segment(self) -> None:
        self.ended += 1
        effects = self.session.segment_end(self.now)
        assert EndSegment() in effects
        self.take(effects)

    @rule()
    def vad_ends_segment(self) -> None:
        self.ended += 1
        self.take(self.session.event(SegmentEnded(0, self.ended - 1), self.now))

    @rule()
    def cancel(self) -> None:
        self.take(self.session.cancel(self.now))

    @rule(turn_id=turn_ids)
    def cancel_a_turn(self, turn_id: int) -> None:
        self.take(self.session.cancel(self.now, turn_id))

    @rule()
    def answer_read(self) -> None:
        self.session.answer_read()

    @rule(message=st.sampled_from(["not audio"]))
    def undecodable(self, message: str) -> None:
        self.take(self.session.audio_failed(message))

    @rule(turn_id=turn_ids, text=st.sampled_from(["", "hello"]), is_final=st.booleans())
    def transcript(self, turn_id: int, text: str, is_final: bool) -> None:
        event = Transcript(0, turn_id, text, len(text), is_final)
        self.take(self.session.event(event, self.now))

    @rule(turn_id=turn_ids, text=st.sampled_from(["", "a", "b. ", "C"]), reason=finish_reasons)
    def delta(self, turn_id: int, text: str, reason: None) -> None:
        self.take(self.session.event(ResponseDelta(0, turn_id, text, reason), self.now))

    @rule(turn_id=turn_ids)
    def failure(self, turn_id: int) -> None:
        event = Failure(0, turn_id, "asr_failed", "It broke.")
        self.take(self.session.event(event, self.now))

    @rule(turn_id=turn_ids)
    def refused(self, turn_id: int) -> None:
        event = Failure(0, turn_id, "overloaded", "Full.", retry_after_ms=1000)
        self.take(self.session.event(event, self.now))

    @rule(turn_id=turn_ids, text=st.sampled_from(["", "hello"]))
    def assumed(self, turn_id: int, text: str) -> None:
        effects = self.session.event(Assumed(0, turn_id, text), self.now)
        assert not [effect for effect in effects if isinstance(effect, Send)]
        for effect in effects:
            assert self.session.pending == 0, "the prompt is not known yet"
            assert turn_id == self.ended
            assert isinstance(effect, Anticipate if text else Withdraw)

    @rule(turn_id=turn_ids)
    def speech(self, turn_id: int) -> None:
        self.take(self.session.event(SpeechStarted(0, turn_id, self.now), self.now))

    @rule(seconds=st.floats(0, 7))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.session.tick(self.now))
        assert self.session.deadline is None or self.session.deadline > self.now

    @invariant()
    def answers_come_in_pairs_and_in_order(self) -> None:
        answers = [m for m in self.sent if isinstance(m, ChatbotResponse | SegmentProcessed)]
        assert all(isinstance(m, ChatbotResponse) for m in answers[::2])
        assert all(isinstance(m, SegmentProcessed) for m in answers[1::2])
        numbers = [m.turn for m in answers]
        assert numbers == [turn for turn in range(len(answers) // 2) for _ in range(2)]
        assert len(answers) // 2 + self.session.pending == self.ended

    @invariant()
    def one_reply_is_asked_for_at_a_time(self) -> None:
        assert self.generated == sorted(set(self.generated))
        waiting = [turn for turn in self.generated if turn >= self.ended - self.session.pending]
        assert len(waiting) <= 1

    @invariant()
    def pieces_make_the_response_and_nothing_follows_the_answer(self) -> None:
        pieces: dict[int, str] = {}
        sentences: dict[int, list[str]] = {}
        answered = -1
        for message in self.sent:
            if isinstance(message, ResponsePiece):
                pieces[message.turn] = pieces.get(message.turn, "") + message.text
            if isinstance(message, ResponseSentence):
                assert message.turn > answered
                spoken = sentences.setdefault(message.turn, [])
                assert message.index == len(spoken)
                spoken.append(message.text)
            if isinstance(message, ResponsePiece | PartialTranscription | Transcription):
                assert message.turn > answered
            if isinstance(message, ChatbotResponse):
                assert message.turn is not None
                answered = message.turn
                assert message.response == pieces.get(answered, "")
                assert message.response == "".join(sentences.get(answered, []))
                assert (message.error is None) == (message.error_code is None)
                assert message.error or message.cancelled or message.transcription

    def teardown(self) -> None:
        """Whatever was outstanding is answered once its time is over."""
        while self.session.pending:
            deadline = self.session.deadline
            assert deadline is not None, "an unanswered turn must have a deadline"
            self.now = max(self.now, deadline)
            self.take(self.session.tick(self.now))
        self.answers_come_in_pairs_and_in_order()


class BargeInMachine(SessionMachine):
    policy = replace(POLICY, barge_in=True)


LIMITS = hypothesis_settings(max_examples=150, stateful_step_count=40, deadline=None, database=None)
TestSession = SessionMachine.TestCase
TestSession.settings = LIMITS
TestSessionWithBargeIn = BargeInMachine.TestCase
TestSessionWithBargeIn.settings = hypothesis_settings(LIMITS, max_examples=50)


def replying(policy: SessionPolicy = POLICY) -> Session:
    session = Session(0, policy, Conversation(max_turns=4))
    session.segment_end(0.0)
    session.event(Transcript(0, 0, "hello", 5, is_final=True), 0.1)
    session.event(ResponseDelta(0, 0, "Well, "), 0.2)
    return session


def test_the_request_that_was_anticipated_is_the_one_that_is_made() -> None:
    session = replying()
    session.event(ResponseDelta(0, 0, "yes.", "stop"), 0.3)
    (anticipated,) = session.event(Assumed(0, 1, "and now?"), 1.0)
    session.segment_end(1.3)
    effects = session.event(Transcript(0, 1, "and now?", 8, is_final=True), 1.4)
    (made,) = [effect for effect in effects if isinstance(effect, Generate)]
    assert isinstance(anticipated, Anticipate)
    assert anticipated.request == made.request
    said = [message.content for message in made.request.messages]
    assert said == ["system", "hello", "Well, yes.", "and now?"]


def test_speech_over_a_reply_ends_it_where_that_was_asked_for() -> None:
    speech = SpeechStarted(0, 1, 1.0)
    patient, hasty = replying(), replying(replace(POLICY, barge_in=True))
    assert [type(effect) for effect in patient.event(speech, 0.5)] == [Send]
    effects = hasty.event(speech, 0.5)
    assert CancelTurn(0) in effects
    sent = [effect.message for effect in effects if isinstance(effect, Send)]
    (answer,) = [message for message in sent if isinstance(message, ChatbotResponse)]
    assert (answer.response, answer.cancelled) == ("Well, ", True)
    assert hasty.event(ResponseDelta(0, 0, "yes."), 0.6) == []
    hasty.segment_end(1.0)
    effects = hasty.event(Transcript(0, 1, "stop", 4, is_final=True), 1.1)
    (made,) = [effect.request for effect in effects if isinstance(effect, Generate)]
    assert [m.content for m in made.messages] == ["system", "hello", "Well, ", "stop"]


def test_speech_over_a_transcript_under_way_ends_nothing() -> None:
    session = Session(0, replace(POLICY, barge_in=True), Conversation(max_turns=4))
    session.segment_end(0.0)
    effects = session.event(SpeechStarted(0, 1, 1.0), 0.5)
    assert [type(effect) for effect in effects] == [Send]
    assert session.pending == 1


def test_when_to_try_again_is_told_to_clients_that_opted_in() -> None:
    full = Failure(0, 0, "overloaded", "Full.", retry_after_ms=1500)
    for policy, told in ((POLICY, 1500), (replace(POLICY, events=frozenset()), None)):
        sent = [
            effect.message
            for effect in replying(policy).event(full, 1.0)
            if isinstance(effect, Send)
        ]
        (answer,) = [message for message in sent if isinstance(message, ChatbotResponse)]
        assert (answer.error, answer.retry_after_ms) == ("Full.", told)


def answer_of(effects: list[Effect]) -> ChatbotResponse:
    sent = [effect.message for effect in effects if isinstance(effect, Send)]
    (answer,) = [message for message in sent if isinstance(message, ChatbotResponse)]
    return answer


def test_a_blank_reply_is_told_by_a_code_and_leaves_no_trace_in_the_history() -> None:
    """Some servers refuse every later prompt that holds one."""
    session = Session(0, POLICY, Conversation(max_turns=4))
    for turn, (text, reason) in enumerate([("", "stop"), (" \n", "length"), ("", "cancelled")]):
        session.segment_end(0.0)
        session.event(Transcript(0, turn, f"words {turn}", 7, is_final=True), 0.1)
        answer = answer_of(session.event(ResponseDelta(0, turn, text, reason), 0.2))  # type: ignore[arg-type]
        blank = reason != "cancelled"
        assert answer.error_code == ("empty_reply" if blank else None)
        assert (answer.error is not None, answer.response) == (blank, text)
    messages = session.conversation.prompt("", "and now?")
    assert [(m.role, m.content) for m in messages] == [
        ("user", "words 0\nwords 1\nwords 2\nand now?")
    ]


def test_an_answer_says_why_nothing_was_heard() -> None:
    session = Session(0, POLICY, Conversation(max_turns=4))

    def ended(turn: int) -> ChatbotResponse:
        session.segment_end(0.0)
        return answer_of(session.event(Transcript(0, turn, "", 0, is_final=True), 0.1))

    session.audio_failed("it is MP3")
    nothing = ended(0)
    assert nothing.error_code == "audio_undecodable"
    assert nothing.error == "The audio could not be decoded: it is MP3"
    session.audio_decoded()
    session.audio_failed("it is MP3")
    some = ended(1)
    assert some.error_code == "no_speech"
    assert some.error == (
        "Some of the audio could not be decoded: it is MP3. No speech was found in the rest."
    )
    session.audio_decoded()
    assert (ended(2).error_code, ended(3).error_code) == ("no_speech", "no_speech")
    session.audio_failed("it is MP3")
    assert ended(4).error_code == "audio_undecodable"


def test_the_engine_ends_a_late_reply_and_the_session_only_if_it_does_not() -> None:
    """One owner of the limit: which of two answers a client gets must not hang on chance."""
    session = replying()  # asked for at 0.1, and the limit is 5 s
    assert session.tick(5.2) == []
    late = Failure(0, 0, "timeout", "the reply took longer than 5 s")
    sent = [e.message for e in session.event(late, 5.3) if isinstance(e, Send)]
    assert [m.error for m in sent if isinstance(m, ChatbotResponse)] == [late.message]
    silent = replying()
    assert silent.deadline == 0.1 + 5 + LLM_FAILSAFE_S
    effects = silent.tick(silent.deadline)
    assert CancelTurn(0) in effects
    sent = [e.message for e in effects if isinstance(e, Send)]
    assert [m.error_code for m in sent if isinstance(m, ChatbotResponse)] == ["timeout"]
