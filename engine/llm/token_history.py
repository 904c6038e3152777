"""The tokens of a session's last exchange, so that its next prompt begins with the same ones.

A reply's tokens need not be those that its text would be cut into, and a cached prefix is found
by tokens: what was generated is kept as it was generated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Exchange:
    """A prompt and what was said to it: text and tokens side by side.

    ``marks`` are places where both can be cut: ``(characters, tokens)``, ascending.
    """

    text: str = ""
    ids: list[int] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])

    def extend(self, text: str, ids: Sequence[int]) -> None:
        """What comes next, as it was read or said: ``ids`` spell ``text``."""
        self.text += text
        self.ids += ids
        self.marks.append((len(self.text), len(self.ids)))

    def shared_with(self, prompt: str) -> tuple[int, int]:
        """The last mark up to which ``prompt`` is the same text."""
        shared = len(os.path.commonprefix([self.text, prompt]))  # noqa: RUF071 - of characters
        return max(mark for mark in self.marks if mark[0] <= shared)

    def follow(self, prompt: str, tokenize: Callable[[str], list[int]]) -> Exchange:
        """The next exchange's prompt: these tokens as far as it is the same, the rest anew.

        The marks go along, so that a prompt made in vain (an early reply that nobody asked for,
        one that was cancelled) does not hide what came before it.
        """
        characters, tokens = self.shared_with(prompt)
        marks = [mark for mark in self.marks if mark[0] <= characters]
        made = Exchange(prompt[:characters], self.ids[:tokens], marks)
        made.extend(prompt[characters:], tokenize(prompt[characters:]))
        return made
