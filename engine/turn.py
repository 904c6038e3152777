"""A turn's speech on its way to text: windows of at most half a minute, decoded in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from engine.asr.agreement import Decode, LocalAgreement
from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.finished import ends_a_sentence, is_finished
from engine.asr.guards import is_doubtful
from engine.asr.words import words_of
from engine.types import SAMPLE_RATE, AssumedAfter, Pcm, Transcript, Word
from engine.vad.endpointer import FRAME_SAMPLES
from engine.voiced import speech_samples

# Windows close at a pause from this share of their length on, so that little is left to do at
# the end; without a pause they are cut at the quietest place of their last seconds.
PAUSE_CLOSES_FROM = 0.6

# After a pause this long what is said next is a window of its own, if this one holds enough for a
# sentence and is not known to break off in one: within one window Whisper drops a sentence that was
# just said, or that is in another language. It also hears halves of a sentence worse than the
# whole, so a hesitation parts nothing. Thirteen clips read with pauses had 65 words wrong when they
# were not parted; parted after 0.8 s anywhere, without the text before as context, 83; after 0.8,
# 1.0 and 1.2 s where a sentence ends, with it as context, 70, 68 and 65.
LONG_PAUSE_S = 1.2
LEAST_PARTED_S = 1.5
CUT_SEARCH_S = 8.0

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
    spoken_s: dict[str, float] = field(default_factory=dict)  # speech in each language
    failure: str | None = None
    cancelled: bool = False  # nothing is decoded for it any more

    @property
    def language(self) -> str | None:
        """The language that most of it was in, of the windows decoded so far."""
        return max(self.spoken_s, key=self.spoken_s.__getitem__, default=None)

    def hear_language(self, hypothesis: Hypothesis) -> None:
        if hypothesis.language is not None:
            before = self.spoken_s.get(hypothesis.language, 0.0)
            self.spoken_s[hypothesis.language] = before + hypothesis.job.seconds

    def take(self, hypothesis: Hypothesis, words: list[Word]) -> None:
        """Add what a window was decoded to."""
        self.text += hypothesis.text
        self.words += words

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
    voiced: list[Pcm] = field(default_factory=list)  # VAD's probabilities, of each span's frames
    samples: int = 0
    until_sample: int = 0  # where its speech ends on the session's clock
    is_last: bool = False
    language: str | None = None  # where the model was sure of it before the end
    status: WindowStatus = WindowStatus.OPEN
    asked: AsrJob | None = None  # the newest job sent for it
    answered: Hypothesis | None = None  # the newest usable result for it
    instead: Hypothesis | None = None  # of words that were too few for its speech: see unheard

    @classmethod
    def open(cls, turn: Turn, decode: Decode) -> Window:
        turn.windows += 1
        return cls(turn, turn.windows - 1, LocalAgreement(decode))

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    def add(self, pcm: Pcm, start_sample: int, until_sample: int, voiced: Pcm) -> None:
        self.spans.append(pcm)
        self.starts.append(start_sample)
        self.voiced.append(voiced)
        self.samples += len(pcm)
        self.until_sample = until_sample

    def ended_long_before(self, now_sample: int) -> bool:
        """Whether it holds enough speech, and the pause since is so long, that it is complete.

        Not if it is known to break off in mid-sentence: parted there, both halves are heard worse.
        """
        enough = self.samples >= LEAST_PARTED_S * SAMPLE_RATE
        if not enough or now_sample - self.until_sample < LONG_PAUSE_S * SAMPLE_RATE:
            return False
        answered = self.answered
        if answered is None or answered.job.until_sample != self.until_sample:
            return True  # nobody knows
        return ends_a_sentence(answered.text)

    def pcm(self, growing: Pcm | None = None) -> Pcm:
        """All its speech, and the span that is still growing."""
        return _joined(self.spans, growing)

    def frames(self, growing: Pcm | None = None) -> Pcm:
        """VAD's probabilities in all its speech, and in the span that is still growing."""
        return _joined(self.voiced, growing)

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

    def part(self, from_s: float, to_s: float, decode: Decode) -> Window:
        """Its speech in ``[from_s, to_s)``, counted in seconds of its speech, as a window."""
        part = Window.open(self.turn, decode)
        first, last = round(from_s * SAMPLE_RATE), round(to_s * SAMPLE_RATE)
        for start, span, voiced in zip(self.starts, self.spans, self.voiced, strict=True):
            begin, end = max(0, first), min(len(span), last)
            if begin < end:
                heard = voiced[begin // FRAME_SAMPLES : -(-end // FRAME_SAMPLES)]
                part.add(span[begin:end], start + begin, start + end, heard)
            first, last = first - len(span), last - len(span)
        return part

    def speech_s(self, from_s: float, to_s: float) -> float:
        """How much of ``[from_s, to_s)`` VAD took for speech, in seconds."""
        first, last = round(from_s * SAMPLE_RATE), round(to_s * SAMPLE_RATE)
        samples = 0
        for span, voiced in zip(self.spans, self.voiced, strict=True):
            begin, end = max(0, first), min(len(span), last)
            if begin < end:
                heard = voiced[begin // FRAME_SAMPLES : end // FRAME_SAMPLES]
                samples += speech_samples(heard)
            first, last = first - len(span), last - len(span)
        return samples / SAMPLE_RATE

    def promised(self, hypothesis: Hypothesis | None, decode: Decode) -> Hypothesis | None:
        """``hypothesis``; or, if it lacks words that were told as stable, those words."""
        if self.keeps_settled(hypothesis):
            return hypothesis
        assert self.answered is not None, "words settle where a result is usable"
        return self.answered.only(0, len(self.agreement.settled), decode)

    def keeps_settled(self, hypothesis: Hypothesis | None) -> bool:
        """Whether it begins with the words that were told as stable."""
        settled = self.agreement.settled
        return (hypothesis.tokens if hypothesis else ())[: len(settled)] == settled

    def better(self, hypothesis: Hypothesis | None) -> Hypothesis | None:
        """What it was heard as before, if it is no more now."""
        if self.instead is None:
            return hypothesis
        more = hypothesis is not None and len(hypothesis.text) > len(self.instead.text)
        return hypothesis if more else self.instead

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

    def heard_more_than(self, late: Hypothesis) -> bool:
        """A newer guess, of more speech, overtook ``late`` in the model."""
        first = self.answered
        return first is not None and first.job.until_sample > late.job.until_sample

    def owns(self, job: AsrJob) -> bool:
        return (job.turn_id, job.window) == (self.turn.turn_id, self.index)

    def awaits(self, job: AsrJob) -> bool:
        """``job`` is the newest one sent for it, and has not come back yet."""
        if self.asked is None or self.status is WindowStatus.OPEN:
            return False
        return self.asked.number == job.number

    def may_end_with(self, job: AsrJob) -> bool:
        """``job`` covers all of the closed window, and was checked as a final is: other partials
        are not aligned, so speech that Whisper left out of them goes unnoticed."""
        return job.until_sample == self.until_sample and (job.is_final or job.stands_in)


def _joined(parts: list[Pcm], last: Pcm | None) -> Pcm:
    parts = parts if last is None else [*parts, last]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
