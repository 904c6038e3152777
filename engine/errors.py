"""What can go wrong, as types. The code is what a client sees; the message says what to do.

AntiphonError                 code
|-- ConfigError               config_invalid        a setting is unknown or out of range
|-- ModelError                model_unavailable     a model cannot be found or loaded
|-- Overloaded                overloaded            no slot, a full queue, too much lag
|-- AudioError                audio_undecodable     bytes that are not audio
|-- AsrFailed                 asr_failed            the speech model failed while running
|-- LlmFailed                 llm_failed            the language model failed while running
`-- DeadlineExceeded          timeout               an answer took longer than its limit
"""

from __future__ import annotations

from typing import ClassVar


class AntiphonError(Exception):
    """Base of every error that a user or a client may see.

    ``code`` is stable and machine-readable; ``str(error)`` is a sentence for people.
    """

    code: ClassVar[str] = "internal"


class ConfigError(AntiphonError):
    """A setting is unknown, of the wrong type or out of range."""

    code = "config_invalid"


class ModelError(AntiphonError):
    """A model cannot be found, fetched, verified or loaded."""

    code = "model_unavailable"


class Overloaded(AntiphonError):
    """There is no room for this request now; ``retry_after_ms`` says when to try again."""

    code = "overloaded"

    def __init__(self, message: str, retry_after_ms: int = 1000) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class AudioError(AntiphonError):
    """Bytes that are not the audio they claim to be."""

    code = "audio_undecodable"


class AsrFailed(AntiphonError):
    """The speech model failed while running."""

    code = "asr_failed"


class LlmFailed(AntiphonError):
    """The language model failed while running."""

    code = "llm_failed"


class DeadlineExceeded(AntiphonError):
    """An answer took longer than its limit."""

    code = "timeout"
