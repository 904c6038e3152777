"""The session's promise under any order of events: one answer to each segment's end, in order."""

from __future__ import annotations

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.types import (
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
from server.session import Effect, EndSegment, Generate, Send, Session, SessionPolicy

POLICY = SessionPolicy(
    "llm", "system", 10, Sampling(), segment_timeout_s=5, llm_timeout_s=5, events=EVENTS
)
turn_ids = st.integers(0, 12)
finish_reasons = st.sampled_from([None, None, "stop", "length", "cancelled"])


class SessionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.session = Session(0, POLICY, Conversation(max_turns=4))
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
        self.take(self.session.generate_refused(turn_id, "overloaded", "Full.", self.now))

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


TestSession = SessionMachine.TestCase
TestSession.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=40, deadline=None, database=None
)
