"""A guess of what the model will say, and where in it we are."""

from __future__ import annotations

from collections.abc import Sequence

_REACH = 6
_AGAIN = 8


class Draft:
    """The last hypothesis of a segment, offered for verification.

    The whole of it is offered first. Where the model says something else, the draft waits until
    the model's latest token appears in it again near the place reached, and then offers what
    follows, a little at a time: one changed word costs one or two passes, not all the rest.
    """

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self._tokens = tuple(tokens)
        self._place = 0  # where the next token should be
        self._seen = 0

    def propose(self, said: Sequence[int]) -> tuple[int, ...]:
        """What may follow ``said``, the tokens chosen so far."""
        if not said:
            return self._tokens
        self._place += len(said) - self._seen
        self._seen = len(said)
        near = sorted(range(-_REACH, _REACH + 1), key=abs)
        for shift in near:
            place = self._place + shift
            if 1 <= place < len(self._tokens) and self._tokens[place - 1] == said[-1]:
                self._place = place
                return self._tokens[place : place + _AGAIN]
        return ()
