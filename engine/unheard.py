"""Speech that no word of a transcript attends to: where it lies in a window, and cut out of it.

Whisper may leave out the middle of a window or end its text early, most of all where speakers or
languages change and where somebody says the same again. The decoder's alignment tells when each
word was said; a word whose time holds far more speech than it can be, or speech after the last
one, is decoded by itself, in its place. Words that were told as stable are never decoded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from engine.asr.agreement import Decode
from engine.asr.backend import Hypothesis
from engine.asr.words import word_spans
from engine.turn import Window
from engine.types import SAMPLE_RATE, Pcm
from engine.voiced import speech_samples

# Whisper is asked when its words were said in windows of more than LONG_S seconds, and in shorter
# ones where it gives fewer tokens for a second of speech than anybody says who speaks on.
LONG_S = 12.0
SPARSE_TOKENS_PER_S = 2.0

LEAST_S = 1.5
"""Less speech without a word is a hesitation, or an error of the alignment."""
_WORD_AT_MOST_S = 0.4
_LETTER_AT_MOST_S = 0.08
_PROGRESS_S = 1.0
_LEAST_PART_S = 0.02  # one encoder position


def cut(window: Window, hypothesis: Hypothesis, decode: Decode) -> list[Window]:
    """``window`` as windows in order, if ``hypothesis`` leaves speech out: what is decoded has its
    part of it as its answer, what was left out has none. Else nothing. No part is empty."""
    hypothesis = _within(window, hypothesis)
    stretch = _left_out(window, hypothesis, decode)
    if stretch is None:
        return []
    first, last = stretch
    times, count = hypothesis.token_times, len(hypothesis.tokens)
    parts: list[Window] = []
    if first:
        before = window.part(0.0, times[first], decode)
        before.agreement = window.agreement  # all that is settled lies in it
        before.answered = _of(hypothesis, before, 0, first, decode)
        parts.append(before)
    begin_s, end_s = times[first] if first else 0.0, times[last] if last < count else window.seconds
    rest = window.part(begin_s, end_s, decode)
    if first < count:
        rest.instead = _of(hypothesis, rest, first, last, decode)
    parts.append(rest)
    if last < count:
        after = window.part(end_s, window.seconds, decode)
        after.until_sample = window.until_sample
        after.answered = _of(hypothesis, after, last, count, decode)
        parts.append(after)
    else:
        rest.until_sample = window.until_sample
    parts[-1].is_last = window.is_last
    return parts


def _within(window: Window, hypothesis: Hypothesis) -> Hypothesis:
    """A guess made late in a pause heard more silence than its window keeps: words are timed into
    that too."""
    times = tuple(min(time, window.seconds) for time in hypothesis.token_times)
    return replace(hypothesis, token_times=times)


def _left_out(window: Window, hypothesis: Hypothesis, decode: Decode) -> tuple[int, int] | None:
    """The tokens in whose time speech is left out; at the end none: ``(count, count)``."""
    times, count = hypothesis.token_times, len(hypothesis.tokens)
    if not count or len(times) != count + 1:
        return None
    if window.instead is None:  # else it is such a stretch itself
        for first, last in _words(window, hypothesis, decode):
            letters = len(decode(hypothesis.tokens[first:last]).strip())
            may_last = _WORD_AT_MOST_S + _LETTER_AT_MOST_S * letters
            if window.speech_s(times[first], times[last]) < LEAST_S + may_last:
                continue
            # Words without time of their own cannot be parted from it.
            first = first if times[first] >= _LEAST_PART_S else 0
            last = last if times[last] <= window.seconds - _LEAST_PART_S else count
            if first >= len(window.agreement.settled):
                return first, last
    after_s = window.speech_s(times[-1], window.seconds)
    return (count, count) if after_s >= LEAST_S and times[-1] >= _PROGRESS_S else None


def _words(window: Window, hypothesis: Hypothesis, decode: Decode) -> Iterator[tuple[int, int]]:
    """Where each word's tokens begin and end, after those that are settled."""
    spans = word_spans(hypothesis.tokens, decode)
    return (span for span in spans if span[0] >= len(window.agreement.settled))


def _of(hypothesis: Hypothesis, part: Window, first: int, last: int, decode: Decode) -> Hypothesis:
    """Tokens ``[first, last)`` of ``hypothesis``, as what was heard in ``part``."""
    begin_s = hypothesis.token_times[first] if first else 0.0
    heard = hypothesis.only(first, last, decode)
    return replace(
        heard,
        job=replace(hypothesis.job, pcm=part.pcm(), until_sample=part.until_sample, prefix=()),
        token_times=tuple(time - begin_s for time in heard.token_times),
    )


def least_tokens(frames: Pcm) -> int:
    """Fewer tokens for speech of these frames are to be told with their times."""
    speech_s = speech_samples(frames) / SAMPLE_RATE
    return round(SPARSE_TOKENS_PER_S * speech_s) if speech_s >= 2 * LEAST_S else 0


def is_long(pcm: Pcm) -> bool:
    return len(pcm) > LONG_S * SAMPLE_RATE
