"""Text to Whisper's tokens and back, and the ids that have a meaning of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer

from engine.errors import ModelError

Task = Literal["transcribe", "translate"]


class WhisperTokenizer:
    """``sot``: start of transcript, ``eot``: end of text, and so on, as in Whisper's paper.

    Ids from ``timestamp_begin`` on are times in steps of 0.02 s. Raises ``ModelError`` if
    ``folder`` has no tokenizer.json or it lacks one of Whisper's tokens.
    """

    def __init__(self, folder: Path, vocabulary: int) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{folder} has no tokenizer.json")
        self._tokenizer = Tokenizer.from_file(str(path))
        self.eot = self._id("<|endoftext|>")
        self.sot = self._id("<|startoftranscript|>")
        self.sot_prev = self._id("<|startofprev|>")
        self.no_timestamps = self._id("<|notimestamps|>")
        self.no_speech = self.no_timestamps - 1
        self.timestamp_begin = self.no_timestamps + 1
        self._tasks = {name: self._id(f"<|{name}|>") for name in ("transcribe", "translate")}
        self.multilingual = vocabulary >= 51_865

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ModelError(f"the tokenizer has no token {token}")
        return int(found)

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens``, special tokens and timestamps left out."""
        words = [token for token in tokens if token < self.eot]
        return str(self._tokenizer.decode(words, skip_special_tokens=True))

    def language_of(self, token: int) -> str:
        """``<|en|>`` -> ``en``."""
        return str(self._tokenizer.id_to_token(token)).strip("<|>")

    def start(
        self, language: str | None, task: Task = "transcribe", *, timestamps: bool = False
    ) -> list[int]:
        """The tokens that open a transcript; ``language`` is unused by English-only models.

        An unknown language raises ``ModelError``.
        """
        tokens = [self.sot]
        if self.multilingual:
            tokens += [self._id(f"<|{language or 'en'}|>"), self._tasks[task]]
        return tokens if timestamps else [*tokens, self.no_timestamps]

    def context(self, prompt: str, context: str, max_tokens: int) -> list[int]:
        """``prompt`` (words to expect) and the end of ``context`` (earlier text), if any."""
        text = [t for part in (prompt, context) if part.strip() for t in self.encode(_led(part))]
        return [self.sot_prev, *text[-max_tokens:]] if text else []


def _led(text: str) -> str:
    return " " + text.strip()
