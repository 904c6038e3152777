"""One JSON chunk of a streamed chat completion (OpenAI's format, as llama.cpp speaks it)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ChunkError:
    """``prompt_tokens`` and ``context_tokens`` are set if the prompt was too long."""

    message: str
    prompt_tokens: int | None = None
    context_tokens: int | None = None


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
    """Read one chunk. Raises ``ValueError`` if it is not JSON."""
    chunk = json.loads(raw)
    if "error" in chunk:
        return Chunk(error=_error(chunk["error"]))
    choices = chunk.get("choices") or [{}]
    reason = choices[0].get("finish_reason")
    return Chunk(
        text=choices[0].get("delta", {}).get("content") or "",
        finish_reason=None if reason is None else "length" if reason == "length" else "stop",
        usage=_usage(chunk.get("timings")),
    )


def _error(error: dict[str, Any]) -> ChunkError:
    message = str(error.get("message", error))
    if error.get("type") != "exceed_context_size_error":
        return ChunkError(message)
    return ChunkError(message, error.get("n_prompt_tokens"), error.get("n_ctx"))


def _usage(timings: dict[str, Any] | None) -> Usage | None:
    if timings is None:
        return None
    return Usage(timings["cache_n"], timings["prompt_n"], timings["predicted_n"])
