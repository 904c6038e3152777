"""One JSON chunk of a streamed chat completion: OpenAI's format, as many servers speak it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

FinishReason = Literal["stop", "length"]

# How servers that name no number of tokens by itself say that a prompt is too long.
_OVERFLOWS = (
    # OpenAI, vLLM; the whole request stands first where the server tells the parts.
    re.compile(
        r"maximum context length is (?P<context>\d+) tokens.*?"
        r"(?:requested|resulted in)(?: over)? (?P<whole>\d+) tokens"
        r"(?: \((?P<prompt>\d+) in the messages)?",
        re.DOTALL,
    ),
    # SGLang
    re.compile(r"input \((?P<whole>\d+) tokens\).*context length \((?P<context>\d+) tokens\)"),
    # TabbyAPI
    re.compile(r"length (?P<whole>\d+) \+ \d+ is greater than max_seq_len (?P<context>\d+)"),
)

_UNSUPPORTED = re.compile(r"unsupported (?:parameter|value): '(\w+)'", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ChunkError:
    """``prompt_tokens`` and ``context_tokens`` are set if the prompt was too long.

    ``unsupported`` names a field of the request that the server never takes.
    """

    message: str
    prompt_tokens: int | None = None
    context_tokens: int | None = None
    unsupported: str | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """Tokens of the prompt and of the context that it did not fit."""
        assert self.prompt_tokens is not None
        assert self.context_tokens is not None
        return self.prompt_tokens, self.context_tokens


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply: prompt tokens found in the cache, computed, and generated."""

    cached: int
    computed: int
    generated: int


@dataclass(frozen=True, slots=True)
class Chunk:
    text: str = ""
    finish_reason: FinishReason | None = None
    error: ChunkError | None = None
    usage: Usage | None = None


def parse(raw: str) -> Chunk:
    """Read one chunk, or the body of an error. Raises ``ValueError`` if it is neither."""
    chunk = json.loads(raw)
    try:
        if "error" in chunk or chunk.get("object") == "error":
            return Chunk(error=_error(chunk.get("error", chunk)))
        choices = chunk.get("choices") or [{}]
        reason = choices[0].get("finish_reason")
        return Chunk(
            text=str((choices[0].get("delta") or {}).get("content") or ""),
            finish_reason=None if reason is None else "length" if reason == "length" else "stop",
            usage=_usage(chunk),
        )
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"not a chunk of a chat completion: {raw[:100]}") from error


def _error(error: dict[str, Any] | str) -> ChunkError:
    if isinstance(error, str):
        return ChunkError(error)
    message = str(error.get("message", error))
    if error.get("type") == "exceed_context_size_error":  # llama.cpp
        return ChunkError(message, error.get("n_prompt_tokens"), error.get("n_ctx"))
    for pattern in _OVERFLOWS:
        if found := pattern.search(message):
            prompt = found.groupdict().get("prompt") or found["whole"]
            return ChunkError(message, int(prompt), int(found["context"]))
    return ChunkError(message, unsupported=_unsupported(error, message))


def _unsupported(error: dict[str, Any], message: str) -> str | None:
    """OpenAI says so in ``code`` and ``param``; what stands between may pass on the text alone."""
    if str(error.get("code")).startswith("unsupported_") and error.get("param"):
        return str(error["param"])
    if "max_completion_tokens" in message:
        return "max_tokens"
    found = _UNSUPPORTED.search(message)
    return found and found[1]


def _usage(chunk: dict[str, Any]) -> Usage | None:
    if timings := chunk.get("timings"):
        return Usage(timings["cache_n"], timings["prompt_n"], timings["predicted_n"])
    if usage := chunk.get("usage"):
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Usage(cached, usage["prompt_tokens"] - cached, usage["completion_tokens"])
    return None
