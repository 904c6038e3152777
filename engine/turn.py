"""A turn's speech on its way to text: windows of at most half a minute, decoded in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from engine.asr.agreement import Decode, LocalAgreement
from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.finished import is_finished
from engine.asr.guards import is_doubtful
from engine.asr.words import words_of
from engine.types import SAMPLE_RATE, AssumedAfter, Pcm, Transcript, Word

# Windows close at a pause from this share of their length on, so that little is left to do at
# the end; without a pause they are cut at the quietest place of their last seconds.
PAUSE_CLOSES_FROM = 0.6
CUT_SEARCH_S = 8.0

# Whisper may end its text with much of a long window still unsaid, most of all where speakers or
# loudness change. Long windows are asked when their last word ended; what follows, if it is this
# long, is a window of its own.
LONG_WINDOW_S = 12.0
MOST_LEFT_OUT_S = 2.5

# Less speech does not tell a session's language: `base` heard another one in the first second of
# 22 out of 74 clips of ten languages, and in the first two seconds of 5 out of 59.
LANGUAGE_KEPT_FROM_S = 2.5

# The transcript that is assumed, and after what.
NOT_KNOWN: tuple[str, AssumedAfter] = ("", "pause")


@dataclass(slots=True)
class Turn:
    """What one segment has come to so far."""

    key: int
    turn_id: int
    text: str = ""  # of the windows decoded so far, with Whisper's leading space
    words: list[Word] = field(default_factory=list)
    windows: int = 0
    language: str | None = None  # of its first words
    failure: str | None = None
    cancelled: bool = False  # nothing is decoded for it any more

    def hear_language(self, hypothesis: Hypothesis) -> str | None:
        """Take the language of its first words; returns it where they suffice for the session."""
        self.language = self.language or hypothesis.language
        return self.language if hypothesis.job.seconds >= LANGUAGE_KEPT_FROM_S else None

    def transcript(self, text: str, stable: str, language: str | None) -> Transcript:
        """A partial: ``stable`` is the beginning of ``text`` (both raw) that will not change."""
        lead = len(text) - len(text.lstrip())
        stable_chars = max(0, len(stable) - lead)
        return Transcript(self.key, self.turn_id, text.strip(), stable_chars, False, language)

    def final(self, language: str | None) -> Transcript:
        text, words = self.text.strip(), tuple(self.words)
        return Transcript(self.key, self.turn_id, text, len(text), True, language, words)


class WindowStatus(Enum):
    """What the speech model is doing for a window. Windows that are done or cancelled are gone."""

    OPEN = auto()  # nothing
    SPECULATING = auto()  # ``asked`` is a partial, or a guess that may become the final
    FINALIZING = auto()  # the result of ``asked``, and of no other job, is the final


@dataclass(slots=True)
class Window:
    """Some of a turn's speech: the spans that VAD kept, in order."""

    turn: Turn
    index: int
    agreement: LocalAgreement
    spans: list[Pcm] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)  # of the spans, on the session's clock
    samples: int = 0
    until_sample: int = 0  # where its speech ends on the session's clock
    is_last: bool = False
    status: WindowStatus = WindowStatus.OPEN
    asked: AsrJob | None = None  # the newest job sent for it
    answered: Hypothesis | None = None  # the newest usable result for it

    @classmethod
    def open(cls, turn: Turn, decode: Decode) -> Window:
        turn.windows += 1
        return cls(turn, turn.windows - 1, LocalAgreement(decode))

    def add(self, pcm: Pcm, start_sample: int, until_sample: int) -> None:
        self.spans.append(pcm)
        self.starts.append(start_sample)
        self.samples += len(pcm)
        self.until_sample = until_sample

    def pcm(self, growing: Pcm | None = None) -> Pcm:
        """All its speech, and the span that is still growing."""
        spans = self.spans if growing is None else [*self.spans, growing]
        return spans[0] if len(spans) == 1 else np.concatenate(spans)

    def words(self, hypothesis: Hypothesis, decode: Decode) -> list[Word]:
        """Words with times on the session's clock, if the model was asked for them."""
        if not hypothesis.token_times:
            return []
        words = words_of(hypothesis.tokens, hypothesis.token_times, decode)
        return [self.on_session_clock(word) for word in words]

    def on_session_clock(self, word: Word) -> Word:
        """``word``, timed in this window, put back to where it was said: VAD left out silence."""
        start = round(word.start_s * SAMPLE_RATE)
        length = round((word.end_s - word.start_s) * SAMPLE_RATE)
        said, room = 0, 0
        for begins, span in zip(self.starts, self.spans, strict=True):
            said, room = begins + min(start, len(span)), max(0, len(span) - start)
            if start < len(span):
                break
            start -= len(span)
        # A word does not reach over the silence between two spans.
        return Word(word.text, said / SAMPLE_RATE, (said + min(length, room)) / SAMPLE_RATE)

    def left_out(self, hypothesis: Hypothesis, decode: Decode) -> Window | None:
        """The speech after the last word of ``hypothesis``, as a window, if there is much."""
        times = hypothesis.token_times
        if not hypothesis.tokens or not times:
            return None
        if hypothesis.job.seconds - times[-1] < MOST_LEFT_OUT_S or times[-1] < 1:
            return None
        rest = Window.open(self.turn, decode)
        skip = round(times[-1] * SAMPLE_RATE)
        for start, span in zip(self.starts, self.spans, strict=True):
            if skip < len(span):
                rest.add(span[skip:], start + skip, self.until_sample)
            skip = max(0, skip - len(span))
        rest.is_last = self.is_last
        return rest

    def finished(self, said_until_sample: int) -> tuple[str, AssumedAfter]:
        """The turn's transcript, if it ends like a finished sentence as far as it was heard.

        ``said_until_sample``: where speech ends so far, on the session's clock.
        """
        if self.answered is None or not is_finished(self.answered, said_until_sample):
            return NOT_KNOWN
        return (self.turn.text + self.answered.text).strip(), "sentence"

    @property
    def doubted(self) -> bool:
        """Its newest result is in doubt, and was heard in a shortened context only."""
        answered = self.answered
        if answered is None or answered.job is not self.asked or answered.job.full_context:
            return False
        return is_doubtful(answered)

    def knows_better(self, second: Hypothesis) -> bool:
        """``second`` is another look at what is answered already, and less likely."""
        first = self.answered
        if first is None or not second.job.full_context:
            return False
        same = first.job.until_sample == second.job.until_sample
        return same and first.avg_logprob >= second.avg_logprob

    def owns(self, job: AsrJob) -> bool:
        return (job.turn_id, job.window) == (self.turn.turn_id, self.index)

    def awaits(self, job: AsrJob) -> bool:
        """``job`` is the newest one sent for it, and has not come back yet."""
        if self.asked is None or self.status is WindowStatus.OPEN:
            return False
        return self.asked.number == job.number

    def may_end_with(self, job: AsrJob) -> bool:
        """``job`` heard all of the closed window, and as a final is heard: other partials have a
        shorter context, and no check for speech that Whisper left out."""
        return job.until_sample == self.until_sample and (job.is_final or job.stands_in)
