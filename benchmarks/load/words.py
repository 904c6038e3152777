"""Words: normalised as Whisper's own evaluation does, and compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

_WITHOUT_SPACES = {"zh", "ja", "th", "yue", "my", "lo", "km"}


@dataclass(frozen=True, slots=True)
class Errors:
    """Word errors of a hypothesis against a reference."""

    errors: int
    words: int

    @property
    def rate(self) -> float:
        return self.errors / self.words if self.words else float(self.errors > 0)


def compare(reference: str, hypothesis: str, language: str) -> Errors:
    """Substitutions, insertions and deletions; characters count as words where a language
    writes none."""
    expected, heard = normalise(reference, language), normalise(hypothesis, language)
    count = len(expected.split())
    if not count:
        return Errors(len(heard.split()), 0)
    if not heard:
        return Errors(count, count)
    measures = jiwer.process_words(expected, heard)
    return Errors(measures.substitutions + measures.insertions + measures.deletions, count)


@cache
def normalise(text: str, language: str) -> str:
    return str(_normaliser(language)(text)).strip()


@cache
def _normaliser(language: str) -> EnglishTextNormalizer | BasicTextNormalizer:
    if language == "en":
        return EnglishTextNormalizer()
    return BasicTextNormalizer(split_letters=language in _WITHOUT_SPACES)
