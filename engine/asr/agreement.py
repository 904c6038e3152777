"""Which words of a growing hypothesis will not change any more.

Local agreement (Liu, Spanakis & Niehues, "Low-Latency Sequence-to-Sequence Speech Recognition",
Interspeech 2020; used on Whisper by Machacek et al. 2023) settles what two successive hypotheses
have in common. Two that agree are wrong once in 25 words, most often at the begin of a sentence,
where the model hears too little of what follows. So agreement counts in seconds of speech here: a
token is settled when it, and all before it, stood unchanged while so much more was heard; the less
sure the model was of it in that time, the more (``benchmarks/stability.py``). Settled tokens are
forced upon later decoding of the same window: the promise is kept by construction, and an error
settled would be an error kept, so steadiness comes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

_RULES = ((math.log(0.9), 0.5), (math.log(0.6), 2.4), (math.log(0.3), 3.6))
"""Tokens of at least this log-probability, always, settle after so many seconds."""
_UNTOLD_S = 5.0
"""The seconds for tokens of a model that does not tell their probabilities."""
_NEVER = math.inf


class LocalAgreement:
    """Settles tokens of one window; ``settled`` only ever grows."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._tokens: tuple[int, ...] = ()
        self._stood: list[list[float]] = []  # for each token and rule: since which second
        self.settled: tuple[int, ...] = ()

    def update(
        self,
        tokens: tuple[int, ...],
        heard_s: float,
        logprobs: Sequence[float] = (),
        attended: int = 0,
    ) -> tuple[int, ...]:
        """Take the next hypothesis (it begins with ``settled``); return what is settled now.

        ``heard_s`` is how much speech it is of, in seconds. ``logprobs`` are those of its last
        tokens (those that were not forced), where the model tells them; ``attended`` is how many of
        ``tokens`` may be settled at once, by another rule.
        """
        same = _common(self._tokens, tokens)
        self._stood = self._stood[:same] + [[_NEVER] * len(_RULES) for _ in tokens[same:]]
        self._tokens = tokens
        forced = len(tokens) - len(logprobs) if logprobs else len(self.settled)
        agreed = forced
        for index in range(forced, len(tokens)):
            logprob = logprobs[index - forced] if logprobs else None
            if self._stands(self._stood[index], heard_s, logprob) and agreed == index:
                agreed += 1
        count = self._whole_words(tokens, max(agreed, min(attended, len(tokens))))
        if count > len(self.settled):
            self.settled = tokens[:count]
        return self.settled

    @staticmethod
    def _stands(since: list[float], heard_s: float, logprob: float | None) -> bool:
        """Note that a token was heard again; whether it has stood for long enough."""
        for rule, (likely, _) in enumerate(_RULES):
            sure = logprob is None or logprob >= likely
            since[rule] = min(since[rule], heard_s) if sure else _NEVER
        if logprob is None:
            return heard_s - since[0] >= _UNTOLD_S
        return any(
            heard_s - begun >= span_s for begun, (_, span_s) in zip(since, _RULES, strict=True)
        )

    def _whole_words(self, tokens: tuple[int, ...], count: int) -> int:
        """The largest length up to ``count`` at which ``tokens`` break between two words."""
        while count > len(self.settled):
            text = self._decode(tokens[:count])
            following = self._decode(tokens[count : count + 1])
            if "\ufffd" not in text and _starts_word(following) and text.strip():
                return count
            count -= 1
        return len(self.settled)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def _starts_word(text: str) -> bool:
    """A space begins a word; so does a character of a script that is written without spaces."""
    return text[:1].isspace() or "\u2e80" <= text[:1] <= "\uffee"
