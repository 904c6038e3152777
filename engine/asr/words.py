"""Tokens with times, joined to words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from engine.types import Word


def words_of(
    tokens: Sequence[int], times: Sequence[float], decode: Callable[[Sequence[int]], str]
) -> list[Word]:
    """Join tokens to words; ``times`` (seconds) has one entry more than ``tokens``: the last end.

    A word begins at a token whose text begins with a space; scripts without spaces give one word
    a character, or what its tokens make only together.
    """
    words = [
        Word(decode(tokens[first:last]).strip(), times[first], times[last])
        for first, last in word_spans(tokens, decode)
    ]
    return [word for word in words if word.text]


def word_spans(
    tokens: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> Iterator[tuple[int, int]]:
    """Where the tokens of each word begin and end."""
    begun = 0
    for end in range(1, len(tokens) + 1):
        text = decode(tokens[begun:end])
        if "\N{REPLACEMENT CHARACTER}" in text:
            continue  # a character cut in two
        following = decode(tokens[end : end + 1])
        if end == len(tokens) or following.startswith(" ") or not _spaced(text):
            yield begun, end
            begun = end


def _spaced(text: str) -> bool:
    """False for scripts that do not put spaces between words (Chinese, Japanese, Thai, ...)."""
    return not any("\u0e00" <= c <= "\u0eff" or "\u3040" <= c <= "\u9fff" for c in text)
