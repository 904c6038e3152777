"""One opening of a session: its turns and their answers. No I/O and no clock of its own.

Inputs are what the client says and what the engine reports, each with the time in seconds;
outputs are effects for the connection to carry out, in order. The promise held here: each
segment's end is answered by exactly one ``ChatbotResponse`` and after it exactly one
``SegmentProcessed``, in order, whatever happens.

Speech recognition of later turns goes on while earlier ones are answered, but a turn's request
to the language model waits until the turn before it is answered, because it holds that answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from engine.types import (
    Assumed,
    AssumedAfter,
    AudioConsumed,
    Event,
    Failure,
    GenerateRequest,
    ResponseDelta,
    Sampling,
    SegmentEnded,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from server.conversations import Conversation
from server.messages import (
    ChatbotResponse,
    ErrorMessage,
    PartialTranscription,
    ResponsePiece,
    ResponseSentence,
    SegmentProcessed,
    ServerMessage,
    SpeechStartedMessage,
    SpeechStoppedMessage,
    Transcription,
)
from server.turn import Stage, Turn

NO_SPEECH = "No speech was found in this segment."

# The engine ends a reply that takes longer than its limit. Only if it does not, the session does.
LLM_FAILSAFE_S = 5.0


@dataclass(frozen=True, slots=True)
class Send:
    message: ServerMessage


@dataclass(frozen=True, slots=True)
class EndSegment:
    """Tell the engine that the client's segment is over."""


@dataclass(frozen=True, slots=True)
class CancelTurn:
    turn_id: int


@dataclass(frozen=True, slots=True)
class Generate:
    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class Anticipate:
    """Tell the engine which ``Generate`` will follow, if nothing more is said."""

    request: GenerateRequest
    after: AssumedAfter


@dataclass(frozen=True, slots=True)
class Withdraw:
    """More was said: what was anticipated for the turn will not be asked for."""

    turn_id: int


@dataclass(frozen=True, slots=True)
class Observe:
    """A stage of a turn took this long, counted from the segment's end."""

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """A turn is answered with an error: for the log and the counters."""

    turn_id: int
    code: str
    message: str


Effect = Send | EndSegment | CancelTurn | Generate | Anticipate | Withdraw | Observe | Report


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """What one opening was given: the client's choices within the server's limits."""

    llm_name: str
    system: str
    max_tokens: int
    sampling: Sampling
    segment_timeout_s: float
    llm_timeout_s: float
    events: frozenset[str] = frozenset()
    barge_in: bool = False


class Session:
    """The turns of one opening, which the engine knows as ``key``."""

    def __init__(self, key: int, policy: SessionPolicy, conversation: Conversation) -> None:
        self.key = key
        self.conversation = conversation
        self._policy = policy
        self._turns: deque[Turn] = deque()
        self._next_turn = 0
        self._undecodable: str | None = None

    @property
    def pending(self) -> int:
        """Segments that are not answered yet."""
        return len(self._turns)

    @property
    def deadline(self) -> float | None:
        """When ``tick`` must be called at the latest."""
        return min(
            (turn.deadline for turn in self._turns if turn.deadline is not None), default=None
        )

    # ---- what the client says ------------------------------------------------------------

    def audio_failed(self, message: str) -> list[Effect]:
        """Some audio of the present segment could not be decoded."""
        self._undecodable = message
        return [Send(ErrorMessage("audio_undecodable", message))]

    def segment_end(self, now: float) -> list[Effect]:
        self._begin_turn(now)
        return [EndSegment()]

    def cancel(self, now: float) -> list[Effect]:
        """Stop the oldest unanswered turn; without one, the reply was faster: nothing to do."""
        if not self._turns:
            return []
        turn = self._turns[0]
        stop: list[Effect] = [CancelTurn(turn.turn_id)]
        return stop + list(self._answer(now, cancelled=True)) + list(self._advance(now))

    def abandon(self) -> None:
        """The client is gone: keep what was said for when it comes back."""
        for turn in self._turns:
            if turn.text:
                self.conversation.add(turn.text, turn.response)
        self._turns.clear()

    # ---- what the engine reports ---------------------------------------------------------

    def event(self, event: Event, now: float) -> list[Effect]:
        """Take one event of this key; what belongs to an answered turn is too late: ignored."""
        match event:
            case Transcript():
                return list(self._transcript(event, now))
            case ResponseDelta():
                return list(self._delta(event, now))
            case Assumed():
                return self._assumed(event)
            case Failure():
                return list(self._failure(event, now))
            case SegmentEnded():
                self._begin_turn(now)
                return []
            case SpeechStarted():
                return self._speech_started(event, now)
            case SpeechStopped(turn_id=turn_id, at_s=at_s):
                return self._opt_in("vad", SpeechStoppedMessage(turn_id, at_s))
            case AudioConsumed():
                return []

    def generate_refused(self, turn_id: int, code: str, message: str, now: float) -> list[Effect]:
        """The engine did not take a ``Generate``."""
        return list(self._failure(Failure(self.key, turn_id, code, message), now))

    def tick(self, now: float) -> list[Effect]:
        """Give up on every turn whose stage has taken too long."""
        effects: list[Effect] = []
        for turn in list(self._turns):
            if turn.deadline is not None and now >= turn.deadline:
                part = "transcript" if turn.stage is Stage.LISTENING else "reply"
                effects.append(CancelTurn(turn.turn_id))
                turn.fail("timeout", f"The {part} took longer than its limit.")
        return effects + list(self._advance(now))

    # ---- the turns -----------------------------------------------------------------------

    def _begin_turn(self, now: float) -> None:
        deadline = now + self._policy.segment_timeout_s
        self._turns.append(Turn(self._next_turn, now, deadline, self._undecodable))
        self._next_turn += 1
        self._undecodable = None

    def _find(self, turn_id: int, stage: Stage) -> Turn | None:
        for turn in self._turns:
            if turn.turn_id == turn_id and turn.stage is stage:
                return turn
        return None

    def _transcript(self, event: Transcript, now: float) -> Iterator[Effect]:
        turn = self._find(event.turn_id, Stage.LISTENING)
        if not event.is_final:
            if turn is not None or event.turn_id >= self._next_turn:
                partial = PartialTranscription(event.turn_id, event.text, event.stable_chars)
                yield from self._opt_in("partial", partial)
            return
        if turn is None:
            return
        turn.stage, turn.deadline, turn.text = Stage.HEARD, None, event.text
        turn.heard_at = now
        yield Observe("segment_to_transcript", now - turn.ended_at)
        words = [asdict(word) for word in event.words] if "words" in self._policy.events else None
        final = Transcription(event.turn_id, event.text, event.language, words)
        yield from self._opt_in("transcript", final)
        yield from self._advance(now)

    def _speech_started(self, event: SpeechStarted, now: float) -> list[Effect]:
        """With barge-in, speech ends the reply that it is spoken over, and no transcript."""
        effects = self._opt_in("vad", SpeechStartedMessage(event.turn_id, event.at_s))
        if self._policy.barge_in and self._turns and self._turns[0].stage is Stage.REPLYING:
            effects += self.cancel(now)
        return effects

    def _assumed(self, event: Assumed) -> list[Effect]:
        """The prompt is known only if every turn before is answered."""
        if self._turns or event.turn_id != self._next_turn:
            return []
        if not event.text:
            return [Withdraw(event.turn_id)]
        return [Anticipate(self._request(event.turn_id, event.text), event.after)]

    def _delta(self, event: ResponseDelta, now: float) -> Iterator[Effect]:
        turn = self._find(event.turn_id, Stage.REPLYING)
        if turn is None:
            return
        if event.text:
            if turn.first_token_at is None:
                turn.first_token_at = now
                yield Observe("segment_to_first_token", now - turn.ended_at)
            turn.pieces.append(event.text)
            yield from self._opt_in("token", ResponsePiece(event.turn_id, event.text))
            if "sentence" in self._policy.events:
                yield from _sentences(turn, turn.sentences.push(event.text))
        if event.finish_reason is not None:
            yield from self._answer(now, cancelled=event.finish_reason == "cancelled")
            yield from self._advance(now)

    def _failure(self, event: Failure, now: float) -> Iterator[Effect]:
        turn = self._find(event.turn_id, Stage.LISTENING)
        turn = turn or self._find(event.turn_id, Stage.REPLYING)
        if turn is not None:
            turn.fail(event.code, event.message, event.retry_after_ms)
            yield from self._advance(now)

    def _advance(self, now: float) -> Iterator[Effect]:
        """Answer the oldest turns as far as they can be, and ask for the next reply."""
        while self._turns:
            turn = self._turns[0]
            if turn.stage is Stage.HEARD and turn.text:
                turn.stage = Stage.REPLYING
                turn.deadline = now + self._policy.llm_timeout_s + LLM_FAILSAFE_S
                yield Generate(self._request(turn.turn_id, turn.text))
                return
            if turn.stage is Stage.HEARD:
                turn.fail("no_speech", _no_speech(turn.undecodable))
            if turn.stage is not Stage.FAILED:
                return
            yield from self._answer(now)

    def _request(self, turn_id: int, text: str) -> GenerateRequest:
        messages = self.conversation.prompt(self._policy.system, text)
        policy = self._policy
        return GenerateRequest(self.key, turn_id, messages, policy.max_tokens, policy.sampling)

    def _answer(self, now: float, cancelled: bool = False) -> Iterator[Effect]:
        """Answer the oldest turn with all that it has come to."""
        turn = self._turns.popleft()
        if turn.text:
            self.conversation.add(turn.text, turn.response)
        if rest := turn.sentences.rest():
            yield from _sentences(turn, [rest])
        opted_in = bool(self._policy.events)
        number = turn.turn_id if opted_in else None
        yield Observe("segment_to_answer", now - turn.ended_at)
        if turn.error_code is not None and turn.error is not None:
            yield Report(turn.turn_id, turn.error_code, turn.error)
        yield Send(
            ChatbotResponse(
                transcription=turn.text,
                response=turn.response,
                backend_used=self._policy.llm_name,
                error=turn.error,
                cancelled=True if cancelled else None,
                turn=number,
                error_code=turn.error_code if opted_in else None,
                retry_after_ms=turn.retry_after_ms if opted_in else None,
                timings=turn.timings(now) if "timings" in self._policy.events else None,
            )
        )
        yield Send(SegmentProcessed(number))

    def _opt_in(self, event: str, message: ServerMessage) -> list[Effect]:
        return [Send(message)] if event in self._policy.events else []


def _sentences(turn: Turn, texts: Iterable[str]) -> Iterator[Effect]:
    for text in texts:
        yield Send(ResponseSentence(turn.turn_id, turn.sentence_count, text))
        turn.sentence_count += 1


def _no_speech(undecodable: str | None) -> str:
    if undecodable is None:
        return NO_SPEECH
    return f"{NO_SPEECH} Some of its audio could not be decoded: {undecodable}"
