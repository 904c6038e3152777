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
from server.protocol import MAX_WARNINGS
from server.turn import Stage, Turn

NO_SPEECH = "No speech was found in this segment."
EMPTY_REPLY = "The language model's reply was empty."

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
        self._decoded = False
        self._warnings: list[str] = []
        # Answers are counted, so that it is known which of them the client has not yet read.
        self._answers = 0
        self._answers_read = 0
        self._unexpected = 0  # the newest that no ``cancel`` brought about; 0: none

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

    def audio_decoded(self) -> None:
        """Some audio of the present segment could be decoded."""
        self._decoded = True

    def segment_end(self, now: float) -> list[Effect]:
        self._begin_turn(now)
        return [EndSegment()]

    def warn(self, warnings: Iterable[str]) -> None:
        """The next answer carries these, each of them once and no more than ``MAX_WARNINGS``."""
        for warning in warnings:
            if warning not in self._warnings and len(self._warnings) < MAX_WARNINGS:
                self._warnings.append(warning)

    def cancel(self, now: float, turn_id: int | None = None) -> list[Effect]:
        """The client stops turn ``turn_id``, or the oldest unanswered one.

        What is answered already is left alone: the reply was faster. Without a ``turn_id``, the
        client means the oldest turn that it knows to be unanswered. While it has not read
        an answer that no ``cancel`` of its own brought about, that one is meant, and no other.
        """
        if turn_id is None:
            if not self._turns or self._unexpected > self._answers_read:
                return []
            return self._cancel_oldest(now)
        if self._turns and self._turns[0].turn_id == turn_id:
            return self._cancel_oldest(now)
        for turn in self._turns:
            if turn.turn_id == turn_id and turn.stage is not Stage.CANCELLED:
                turn.cancel()
                return [CancelTurn(turn_id)]
        return []

    def answer_read(self) -> None:
        """One more of the answers has reached the client; called once for each, in their order."""
        self._answers_read += 1

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

    def _cancel_oldest(self, now: float, by_client: bool = True) -> list[Effect]:
        stop: list[Effect] = [CancelTurn(self._turns[0].turn_id)]
        answer = self._answer(now, cancelled=True, expected=by_client)
        return stop + list(answer) + list(self._advance(now))

    def _begin_turn(self, now: float) -> None:
        deadline = now + self._policy.segment_timeout_s
        turn = Turn(self._next_turn, now, deadline, self._undecodable, self._decoded)
        self._turns.append(turn)
        self._next_turn += 1
        self._undecodable, self._decoded = None, False

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
            effects += self._cancel_oldest(now, by_client=False)
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
            cancelled = event.finish_reason == "cancelled"
            if not (cancelled or turn.response.strip()):
                turn.fail("empty_reply", EMPTY_REPLY)
            yield from self._answer(now, cancelled)
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
                turn.fail(*_why_no_words(turn))
            if turn.stage is Stage.CANCELLED:
                yield from self._answer(now, cancelled=True, expected=True)
            elif turn.stage is Stage.FAILED:
                yield from self._answer(now)
            else:
                return

    def _request(self, turn_id: int, text: str) -> GenerateRequest:
        messages = self.conversation.prompt(self._policy.system, text)
        policy = self._policy
        return GenerateRequest(self.key, turn_id, messages, policy.max_tokens, policy.sampling)

    def _answer(
        self, now: float, cancelled: bool = False, expected: bool = False
    ) -> Iterator[Effect]:
        """Answer the oldest turn with all that it has come to.

        ``expected``: a ``cancel`` of the client brought the answer about.
        """
        turn = self._turns.popleft()
        self._answers += 1
        if not expected:
            self._unexpected = self._answers
        warnings, self._warnings = tuple(self._warnings), []
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
                warnings=warnings or None,
            )
        )
        yield Send(SegmentProcessed(number))

    def _opt_in(self, event: str, message: ServerMessage) -> list[Effect]:
        return [Send(message)] if event in self._policy.events else []


def _sentences(turn: Turn, texts: Iterable[str]) -> Iterator[Effect]:
    for text in texts:
        yield Send(ResponseSentence(turn.turn_id, turn.sentence_count, text))
        turn.sentence_count += 1


def _why_no_words(turn: Turn) -> tuple[str, str]:
    """Code and message for a turn without words, the cause first."""
    if turn.undecodable is None:
        return "no_speech", NO_SPEECH
    if not turn.decoded:
        return "audio_undecodable", f"The audio could not be decoded: {turn.undecodable}"
    some = f"Some of the audio could not be decoded: {turn.undecodable.rstrip('.')}."
    return "no_speech", f"{some} No speech was found in the rest."
