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

    text: str
    ids: list[int]
    marks: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.marks = [(0, 0), (len(self.text), len(self.ids))]

    def extend(self, text: str, ids: Sequence[int]) -> None:
        """A piece of the reply: ``ids`` spell ``text``."""
        self.text += text
        self.ids += ids
        self.marks.append((len(self.text), len(self.ids)))

    def shared_with(self, prompt: str) -> tuple[int, int]:
        """The last mark up to which ``prompt`` is the same text."""
        shared = len(os.path.commonprefix([self.text, prompt]))  # noqa: RUF071 - of characters
        return max(mark for mark in self.marks if mark[0] <= shared)


def encode(prompt: str, last: Exchange | None, tokenize: Callable[[str], list[int]]) -> list[int]:
    """Tokens of ``prompt``: those of the last exchange as far as it is the same, the rest anew."""
    if last is None:
        return tokenize(prompt)
    characters, tokens = last.shared_with(prompt)
    return last.ids[:tokens] + tokenize(prompt[characters:])
