"""Marks of a model's template in what people say: made harmless, so that nobody ends a turn early.

The library reads the whole rendered prompt with its special tokens, and offers no way to read what
a message holds without them. So a special token's text inside a message is broken by a space after
its first character: it then spells ordinary tokens, and still says what was said. Taking it out
would not do: what stood on either side of it may join to be another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.llm.prompt import Messages
from engine.types import Message


class Marks:
    """Knows the texts of a model's special tokens."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Runs of white space, which some models have as tokens, are not marks."""
        longest_first = sorted({text for text in texts if text.strip()}, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def break_in(self, messages: Messages) -> Messages:
        """``messages`` in which no content holds a mark."""
        return tuple(Message(m.role, self.broken(m.content)) for m in messages)

    def broken(self, text: str) -> str:
        while self._any.search(text):
            text = self._any.sub(_broken, text)
        return text


def _broken(mark: re.Match[str]) -> str:
    """One of a single character cannot be broken: it goes."""
    found = mark[0]
    return f"{found[0]} {found[1:]}" if len(found) > 1 else ""
