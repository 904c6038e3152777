"""Which words of a growing hypothesis will not change any more.

Local agreement of two successive hypotheses (Liu, Spanakis & Niehues, "Low-Latency
Sequence-to-Sequence Speech Recognition", Interspeech 2020; used on Whisper by Machacek et al.
2023): their longest common prefix is settled. So is what looks at audio that lies far enough back
(AlignAtt, Papi et al. 2023), where the speech model says which tokens do: of the rules measured in
``benchmarks/stability.py``, either of the two settled most words, earliest, with no more errors
than agreement alone. Both are cut back to whole words. Settled tokens are forced upon later
decoding of the same window, so that the promise is kept by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]


class LocalAgreement:
    """Settles tokens of one window; ``settled`` only ever grows."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._last: tuple[int, ...] = ()
        self.settled: tuple[int, ...] = ()

    def update(self, tokens: tuple[int, ...], attended: int = 0) -> tuple[int, ...]:
        """Take the next hypothesis (it begins with ``settled``); return what is settled now.

        ``attended``: how many of ``tokens`` look at audio that lies far enough back.
        """
        common = _common_prefix(self._last, tokens)
        self._last = tokens
        count = self._whole_words(tokens, max(common, min(attended, len(tokens))))
        if count > len(self.settled):
            self.settled = tokens[:count]
        return self.settled

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


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count
