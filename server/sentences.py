"""A reply cut into sentences as it comes, for clients that speak it. Pure.

A cut is made only once the next visible character is known: `3.14`, `Dr. Smith` and `"Go!" he
said` are no ends. Where it is not clear the sentence goes on, because two sentences spoken in
one breath sound better than one that is broken.
"""

from __future__ import annotations

import re

_ENDS = ".!?…؟۔।॥"
_WIDE_ENDS = "。！？｡"  # these need no space after them
_ONLY_CLOSERS = "”’»)]}」』）】》"
_CLOSERS = _ONLY_CLOSERS + "\"'*_`"  # the others open as well

# Possessive (`++`): what may still belong to an end is never given back to make a match.
_CANDIDATE = re.compile(
    rf"""(?P<end>[{re.escape(_ENDS)}]++ [{re.escape(_CLOSERS)}]*+) (?P<space>\s++) (?=\S)
       | (?P<wide>[{_WIDE_ENDS}]++ [{re.escape(_CLOSERS)}]*+) \s*+ (?=\S)
       | (?P<line>(?=[^\S\n]*+ \n)) \s++ (?=\S)
    """,
    re.VERBOSE,
)
_UNDECIDED = _ENDS + _WIDE_ENDS + _CLOSERS + " \t\r\n\f\v\u00a0\u2028\u2029\u3000"

_LAST_WORD = re.compile(r"[\w.]+\Z")
_LIST_NUMBER = re.compile(r"\W*(\d{1,3}|\w)")
_ACRONYM = re.compile(r"[^\W\d_a-z](\.[^\W\d_a-z])*")

# A name or an explanation follows these, in English, German, French and Spanish.
_GO_ON = re.compile(
    r"""(mr|mrs|ms|dr|prof|st|gen|col|lt|sgt|capt|rev|hon|mt|vs|e\.g|i\.e|cf|approx|ph\.d
       |z\.b|d\.h|bzw|u\.a|hr|fr|mme|mlle|sr|sra|srta|p\.ej)""",
    re.VERBOSE | re.IGNORECASE,
)
_BEFORE_A_NUMBER = re.compile(r"no|nos|nr|fig|vol|p|pp|ch|art|sec|ca", re.IGNORECASE)


class Sentences:
    """Takes a reply piece by piece; what it gives out, joined, is what it took."""

    def __init__(self) -> None:
        self._text = ""  # since the last cut
        self._seen = 0  # no cut lies before here

    def push(self, piece: str) -> list[str]:
        """The sentences that ``piece`` completed."""
        self._text += piece
        sentences = []
        while (end := self._find_end()) is not None:
            sentences.append(self._text[:end])
            self._text, self._seen = self._text[end:], 0
        return sentences

    def rest(self) -> str:
        """What is left at the end of the reply, a sentence or not; empty if nothing is."""
        text, self._text, self._seen = self._text, "", 0
        return text

    def _find_end(self) -> int | None:
        for found in _CANDIDATE.finditer(self._text, self._seen):
            end = max(found.end("end"), found.end("wide"), found.end("line"))
            if self._text[:end].strip() and not _goes_on(self._text, found):
                return end
            self._seen = found.end()
        self._seen = max(self._seen, len(self._text.rstrip(_UNDECIDED)))
        return None


def _goes_on(text: str, found: re.Match[str]) -> bool:
    """Whether the sentence goes on after something that looks like its end."""
    if found["end"] is None or "\n" in found["space"]:
        return False
    following = text[found.end()]
    if following.islower() or following in _ONLY_CLOSERS:
        return True
    before = text[: found.start("end")]
    if not found["end"].startswith(".") or found["end"].startswith(".."):
        return False
    return bool(_LIST_NUMBER.fullmatch(before.strip())) or _abbreviates(before, following)


def _abbreviates(before: str, following: str) -> bool:
    last = _LAST_WORD.search(before)
    if last is None:
        return False
    word = last[0]
    if following.isdigit() and _BEFORE_A_NUMBER.fullmatch(word):
        return True
    return bool(_GO_ON.fullmatch(word) or (word != "I" and _ACRONYM.fullmatch(word)))
