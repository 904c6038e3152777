"""Which language each of a session's windows is decoded in. Pure.

A window of 2.5 s or more is decoded in the language that the model hears in it; a shorter one, and
one in which the model is not sure, in the language of the last window that was long enough.
"""

from __future__ import annotations

from dataclasses import replace

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.languages import SURE_PROBABILITY
from engine.turn import Window
from engine.types import SAMPLE_RATE, SessionOptions

# Less speech does not tell a language: `base` heard another one in the first second of 22 out of
# 74 clips of ten languages, and in the first two seconds of 5 out of 59.
TOLD_FROM_S = 2.5


class SpokenLanguage:
    """The language policy of one session; ``last`` is the language of its last long window."""

    def __init__(self, options: SessionOptions) -> None:
        self._among = options.languages
        self._given = options.language
        if len(options.languages) == 1:
            self._given = options.languages[0]
        self.last: str | None = self._given

    def ask(self, job: AsrJob, window: Window) -> AsrJob:
        """``job`` with the language to decode it in, or with what to detect it among."""
        last = self.last or window.turn.language
        guessed = self.last is None and len(job.pcm) >= TOLD_FROM_S * SAMPLE_RATE
        return replace(
            job,
            language=self._of(job, window, last),
            languages=self._among,
            # What less speech was taken for so far is no reason to go on in it.
            last_language=None if guessed else last,
            context="" if guessed else job.context,
        )

    def _of(self, job: AsrJob, window: Window, last: str | None) -> str | None:
        if self._given is not None:
            return self._given
        if job.prefix and window.answered is not None:
            return window.answered.language  # settled words stay in the language they are in
        if len(job.pcm) < TOLD_FROM_S * SAMPLE_RATE:
            return last
        return window.language

    def partial(self, window: Window, hypothesis: Hypothesis) -> None:
        """A window whose language the model is sure of is not asked for it again."""
        sure = (hypothesis.language_probability or 0) >= SURE_PROBABILITY
        if sure and hypothesis.job.seconds >= TOLD_FROM_S:
            window.language = hypothesis.language

    def final(self, window: Window, hypothesis: Hypothesis) -> None:
        """Take the language of a decoded window that has words."""
        window.turn.hear_language(hypothesis)
        self.whole(hypothesis)

    def whole(self, hypothesis: Hypothesis) -> None:
        """Take the language of a window that is decoded, or going to be in parts."""
        if hypothesis.job.seconds >= TOLD_FROM_S:
            self.last = hypothesis.language
