"""JSON and binary frames to typed messages and back. Pure: no I/O, no state.

Strict about types, lenient about unknown fields (a warning in what acknowledges the message):
what a client gets wrong it is told, and the connection stays open.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NoReturn, cast, get_args

from server.languages import LANGUAGES
from server.messages import (
    AudioBytes,
    AudioFormat,
    AudioText,
    CancelReply,
    ClientMessage,
    Endpointing,
    SegmentEnd,
    ServerMessage,
    SessionRequest,
    Task,
)

EVENTS = frozenset({"vad", "partial", "transcript", "token", "sentence", "timings", "words"})
MAX_SESSION_ID_CHARS = 256
SAMPLE_RATES_HZ = (8_000, 192_000)
MAX_RAW_CHANNELS = 8
_TELEPHONE_HZ = 8_000
MAX_WARNINGS = 8
MAX_LANGUAGES = 16
MAX_TEMPERATURE = 2.0
MAX_SEED = (1 << 32) - 2  # llama.cpp takes the highest for "any"


class ProtocolError(Exception):
    """A message that cannot be understood; ``code`` is what the client is told."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """What a session may ask for: texts in characters, the reply in tokens."""

    max_prompt_chars: int
    max_system_chars: int
    max_tokens: int
    max_temperature: float
    max_stops: int
    max_stop_chars: int


def parse(frame: str | bytes, limits: MessageLimits) -> ClientMessage:
    """One WebSocket message as a typed one. Raises ``ProtocolError``."""
    if isinstance(frame, bytes):
        return AudioBytes(frame)
    body = _object(frame)
    kind = body.pop("type", None)
    if not isinstance(kind, str):
        raise ProtocolError("bad_message", 'A message needs a "type", which is a string.')
    parser = _PARSERS.get(kind)
    if parser is None:
        known = ", ".join(sorted(_PARSERS))
        raise ProtocolError("unknown_type", f"Unknown type {_shorten(kind)}; known are: {known}.")
    return parser(_Fields(kind, body), limits)


def encode(message: ServerMessage) -> str:
    """A server message as JSON text; fields that are ``None`` are left out."""
    body: dict[str, Any] = {"type": message.type}
    for field in fields(message):
        value = getattr(message, field.name)
        if value is not None:
            body[field.name] = value
    return json.dumps(body)


def _object(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ProtocolError("bad_json", "This JSON is nested too deeply.") from None
    except ValueError as error:
        raise ProtocolError("bad_json", f"This is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise ProtocolError("bad_message", "A message is a JSON object.")
    return body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


def _shorten(value: object, limit: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class _Fields:
    """The fields of one message, taken out one by one; what is left at the end is unknown."""

    def __init__(self, where: str, body: dict[str, Any]) -> None:
        self._where = where
        self._body = body

    def reject(self, name: str, need: str) -> NoReturn:
        raise ProtocolError("bad_message", f'{self._where}: "{name}" must be {need}.')

    def text(self, name: str, max_chars: int) -> str | None:
        value = self._body.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, str):
            self.reject(name, "a string")
        if len(value) > max_chars:
            self.reject(name, f"at most {max_chars} characters long")
        if not _encodes(value):
            self.reject(name, "valid Unicode, without lone surrogates")
        return value

    def data(self, name: str) -> str:
        value = self._body.pop(name, None)
        if not isinstance(value, str):
            self.reject(name, "a string (base64)")
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self._body.pop(name, None)
        if value is None:
            return allowed[0]
        if not isinstance(value, str) or value not in allowed:
            self.reject(name, "one of " + ", ".join(allowed))
        return value

    def integer(self, name: str, low: int, high: int | None = None) -> int | None:
        value = self._body.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            self.reject(name, "a whole number")
        if value < low or (high is not None and value > high):
            self.reject(name, f"at least {low}" + ("" if high is None else f" and at most {high}"))
        return value

    def number(self, name: str, low: float, high: float, *, open_low: bool = False) -> float | None:
        """A number from ``low`` (with ``open_low``: above it) to ``high``."""
        value = self._body.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.reject(name, "a number")
        if not low <= value <= high or (open_low and value == low):
            self.reject(name, f"{'above' if open_low else 'at least'} {low:g} and at most {high:g}")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self._body.pop(name, None)
        if value is not None and not isinstance(value, bool):
            self.reject(name, "true or false")
        return bool(value)

    def strings(self, name: str) -> list[str]:
        value = self._body.pop(name, None)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.reject(name, "a list of strings")
        return cast(list[str], value)

    def one_or_more(self, name: str) -> str | list[str] | None:
        """A string, or a list of strings."""
        value = self._body.pop(name, None)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return cast(list[str], value)
        if value is not None and not isinstance(value, str):
            self.reject(name, "a string or a list of strings")
        return value

    def words(self, name: str, max_chars: int) -> str:
        """A string, or a list of strings, which is joined with commas."""
        value = self._body.get(name)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            self._body[name] = ", ".join(item.strip() for item in value if item.strip())
        elif not isinstance(value, str | None):
            self.reject(name, "a string or a list of strings")
        return self.text(name, max_chars) or ""

    def inner(self, name: str) -> _Fields:
        value = self._body.pop(name, None)
        if value is not None and not isinstance(value, dict):
            self.reject(name, "an object")
        return _Fields(f"{self._where}.{name}", value or {})

    def unknown(self) -> list[str]:
        return [f"unknown field {_shorten(name)} in {self._where}" for name in self._body]

    def warnings(self) -> tuple[str, ...]:
        return tuple(self.unknown()[:MAX_WARNINGS])


def _session(body: _Fields, limits: MessageLimits) -> SessionRequest:
    session_id = body.text("session_id", MAX_SESSION_ID_CHARS)
    if not session_id:
        body.reject("session_id", "a string that is not empty")
    asked = body.strings("events")
    warnings = [f"unknown event {_shorten(name)}" for name in asked if name not in EVENTS]
    max_tokens = body.integer("max_tokens", 1)
    if max_tokens is not None and max_tokens > limits.max_tokens:
        warnings.append(f'"max_tokens" was lowered to this server\'s {limits.max_tokens}')
        max_tokens = limits.max_tokens
    temperature = body.number("temperature", 0, MAX_TEMPERATURE)
    if temperature is not None and temperature > limits.max_temperature:
        warnings.append(f'"temperature" was lowered to this server\'s {limits.max_temperature:g}')
        temperature = limits.max_temperature
    language, languages = _language(body)
    audio = body.inner("audio")
    audio_format, sample_rate, channels = _audio(audio)
    return SessionRequest(
        session_id=session_id,
        events=EVENTS.intersection(asked),
        language=language,
        languages=languages,
        task=cast(Task, body.choice("task", ("transcribe", "translate"))),
        prompt=body.text("prompt", limits.max_prompt_chars) or "",
        hotwords=body.words("hotwords", limits.max_prompt_chars),
        system=body.text("system", limits.max_system_chars),
        endpointing=cast(Endpointing, body.choice("endpointing", ("client", "server"))),
        audio_format=audio_format,
        sample_rate=sample_rate,
        channels=channels,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=body.number("top_p", 0, 1, open_low=True),
        stop=_stop(body, limits),
        seed=body.integer("seed", 0, MAX_SEED),
        barge_in=body.flag("barge_in"),
        warnings=tuple((warnings + body.unknown() + audio.unknown())[:MAX_WARNINGS]),
    )


def _audio(body: _Fields) -> tuple[AudioFormat, int, int]:
    """Format, sample rate and channels; G.711 has the telephone's rate unless another is given."""
    audio_format = cast(AudioFormat, body.choice("format", get_args(AudioFormat)))
    usual_hz = _TELEPHONE_HZ if audio_format in ("mulaw", "alaw") else 16_000
    sample_rate = body.integer("sample_rate", *SAMPLE_RATES_HZ) or usual_hz
    channels = body.integer("channels", 1, MAX_RAW_CHANNELS)
    if channels is not None and audio_format == "auto":
        body.reject("channels", 'left out, unless "format" names raw samples')
    return audio_format, sample_rate, channels or 1


def _language(body: _Fields) -> tuple[str | None, tuple[str, ...]]:
    """The language, or the languages to choose it among; neither for "auto"."""
    value = body.one_or_more("language")
    if value is None or value == "auto":
        return None, ()
    codes = [value] if isinstance(value, str) else value
    if not 0 < len(codes) <= MAX_LANGUAGES or not LANGUAGES.issuperset(codes):
        body.reject(
            "language",
            '"auto", a language code of Whisper, such as "en" or "de", or a list of '
            f"1 to {MAX_LANGUAGES} of them",
        )
    return (value, ()) if isinstance(value, str) else (None, tuple(dict.fromkeys(codes)))


def _stop(body: _Fields, limits: MessageLimits) -> tuple[str, ...]:
    texts = body.strings("stop")
    if len(texts) > limits.max_stops:
        body.reject("stop", f"at most {limits.max_stops} strings")
    for text in texts:
        if not text or len(text) > limits.max_stop_chars or not _encodes(text):
            body.reject("stop", f"strings of 1 to {limits.max_stop_chars} characters")
    return tuple(texts)


def _encodes(text: str) -> bool:
    """False where there are lone surrogates, which JSON lets through."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _audio_chunk(body: _Fields, limits: MessageLimits) -> AudioText:
    return AudioText(body.data("data"), body.warnings())


def _segment_end(body: _Fields, limits: MessageLimits) -> SegmentEnd:
    return SegmentEnd(body.warnings())


def _cancel(body: _Fields, limits: MessageLimits) -> CancelReply:
    return CancelReply(body.integer("turn", 0), body.warnings())


_PARSERS: dict[str, Callable[[_Fields, MessageLimits], ClientMessage]] = {
    "session": _session,
    "audio_chunk": _audio_chunk,
    "segment_end": _segment_end,
    "cancel": _cancel,
}
