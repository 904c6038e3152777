"""Whisper's tokens that have a meaning of their own: tasks, languages, times, silence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.asr.backend import Task
from engine.asr.vocabulary import Vocabulary


class WhisperTokenizer(Vocabulary):
    """A ``Vocabulary`` that also knows timestamps.

    Ids from ``timestamp_begin`` on are times in steps of 0.02 s. Raises ``ModelError`` if
    ``folder`` has no tokenizer.json, or it lacks one of Whisper's tokens.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.no_timestamps = self._id("<|notimestamps|>")
        self.no_speech = self.no_timestamps - 1
        self.timestamp_begin = self.no_timestamps + 1

    def opening(
        self,
        language: str | None,
        previous: Sequence[int] = (),
        task: Task = "transcribe",
        *,
        timestamps: bool = False,
    ) -> list[int]:
        """The tokens before the text, as in the paper's figure 1.

        ``language`` and ``task`` mean nothing to English-only models; for others a language that
        the model does not know raises ``ModelError``.
        """
        before = self.prompt(language or "en", previous, task)
        return before[:-1] if timestamps else before

    def language_of(self, token: int) -> str:
        """The id of ``<|en|>`` -> ``en``."""
        return str(self._tokenizer.id_to_token(token)).strip("<|>")
