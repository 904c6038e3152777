"""Whisper's tokens: prompts in, text out (Radford et al. 2022, section 2.3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import tokenizers

from engine.asr.backend import Task
from engine.errors import ModelError

# Half of the decoder's 448 positions, less the <|startofprev|> token, may hold earlier text.
MAX_POSITIONS = 448
MAX_PREVIOUS_TOKENS = MAX_POSITIONS // 2 - 1


class Vocabulary:
    """The tokenizer of one Whisper folder (``tokenizer.json``, ``config.json``)."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{folder} has no tokenizer.json: it is not a Whisper model folder")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        config = json.loads((folder / "config.json").read_text())
        self.end_of_text = self._id("<|endoftext|>")
        self.start = self._id("<|startoftranscript|>")
        self._previous = self._id("<|startofprev|>")
        self._tasks: dict[str, int] = {
            task: self._id(f"<|{task}|>") for task in ("transcribe", "translate")
        }
        self._no_timestamps = self._id("<|notimestamps|>")
        self.languages = self._languages(config.get("lang_ids", []))
        # English-only models have one token fewer, and no language or task in their prompts.
        self.multilingual = self.end_of_text != 50256

    def prompt(
        self, language: str | None, previous: Sequence[int] = (), task: Task = "transcribe"
    ) -> list[int]:
        """The tokens before the text, as in the paper's figure 1: earlier text, start, what to do.

        Raises ``ModelError`` for a language that the model does not know, and for a translation
        by an English-only model.
        """
        before = [self._previous, *previous] if previous else []
        return [*before, self.start, *self._what_to_do(language, task), self._no_timestamps]

    def _what_to_do(self, language: str | None, task: Task) -> list[int]:
        if self.multilingual:
            return [self._id(f"<|{language}|>"), self._tasks[task]]
        if task == "translate":
            raise ModelError("an English-only Whisper cannot translate: choose a multilingual one")
        return []

    def previous(self, prompt: str, context: str, hotwords: str = "") -> list[int]:
        """Tokens of the words to expect, then of the settled text: ``MAX_PREVIOUS_TOKENS`` at most.

        Hotwords come first, as in faster-whisper (``get_prompt``), but also where a prefix is
        forced: here that is text which was settled a moment ago, and the names to expect may be
        still to come. Settled text leaves the words half of the room, and keeps its newest.
        """
        texts = (" " + words.strip() for words in (hotwords, prompt) if words.strip())
        words = [token for text in texts for token in self.encode(text)]
        settled = self.encode(context) if context else []
        words = words[: MAX_PREVIOUS_TOKENS - min(len(settled), MAX_PREVIOUS_TOKENS // 2)]
        room = MAX_PREVIOUS_TOKENS - len(words)
        return words + settled[max(0, len(settled) - room) :]

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens``; special tokens and timestamps are left out."""
        text: str = self._tokenizer.decode([t for t in tokens if t < self.end_of_text])
        return text

    def _id(self, token: str) -> int:
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise ModelError(f"the tokenizer does not know {token}: it is not Whisper's")
        return int(number)

    def _languages(self, ids: Sequence[int]) -> frozenset[str]:
        names = (self._tokenizer.id_to_token(i) for i in ids)
        return frozenset(name.strip("<|>") for name in names if name)
