"""Which words of a growing hypothesis will not change any more.

Local agreement (Liu, Spanakis & Niehues, "Low-Latency Sequence-to-Sequence Speech Recognition",
Interspeech 2020; used on Whisper by Machacek et al. 2023): what successive hypotheses have in
common is settled, cut back to whole words. Two that agree were wrong once in 25 words, four once
in a hundred but a second later; two that agree on tokens which the model itself thinks more likely
than not are as steady as four, and earlier (``benchmarks/stability.py``). So two settle such
tokens, up to the first that is in doubt; four, where the model does not tell its doubts. Settled
tokens are forced upon later decoding of the same window: the promise is kept by construction, and
an error settled would be an error kept, so steadiness comes first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile

Decode = Callable[[Sequence[int]], str]

_MANY = 4
_LIKELY = math.log(0.5)


class LocalAgreement:
    """Settles tokens of one window; ``settled`` only ever grows."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._heard: deque[tuple[int, ...]] = deque(maxlen=_MANY)
        self.settled: tuple[int, ...] = ()

    def update(
        self, tokens: tuple[int, ...], logprobs: Sequence[float] = (), attended: int = 0
    ) -> tuple[int, ...]:
        """Take the next hypothesis (it begins with ``settled``); return what is settled now.

        ``logprobs`` are those of its last tokens (those that were not forced), where the model
        tells them; ``attended`` is how many of ``tokens`` may be settled at once, by another rule.
        """
        self._heard.append(tokens)
        if logprobs:
            agreed = max(attended, self._agreed(2, self._likely(tokens, logprobs)))
        else:
            agreed = max(attended, self._agreed(_MANY))
        count = self._whole_words(tokens, min(agreed, len(tokens)))
        if count > len(self.settled):
            self.settled = tokens[:count]
        return self.settled

    def _agreed(self, hypotheses: int, at_most: int = 1 << 30) -> int:
        """Length of the prefix that the last ``hypotheses`` have in common."""
        if len(self._heard) < hypotheses:
            return 0
        together = zip(*list(self._heard)[-hypotheses:], strict=False)
        same = takewhile(lambda tokens: len(set(tokens)) == 1, together)
        return min(at_most, sum(1 for _ in same))

    @staticmethod
    def _likely(tokens: tuple[int, ...], logprobs: Sequence[float]) -> int:
        """How many tokens come before the first one that the model doubts."""
        forced = len(tokens) - len(logprobs)
        likely = sum(1 for _ in takewhile(lambda logprob: logprob > _LIKELY, logprobs))
        return forced + likely

    def _whole_words(self, tokens: tuple[int, ...], count: int) -> int:
        """The largest length up to ``count`` at which ``tokens`` break between two words."""
        while count > len(self.settled):
            text = self._decode(tokens[:count])
            following = self._decode(tokens[count : count + 1])
            if "\ufffd" not in text and _starts_word(following) and text.strip():
                return count
            count -= 1
        return len(self.settled)


def _starts_word(text: str) -> bool:
    """A space begins a word; so does a character of a script that is written without spaces."""
    return text[:1].isspace() or "\u2e80" <= text[:1] <= "\uffee"
