"""One JSON chunk of a streamed chat completion: OpenAI's format, as many servers speak it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from engine.llm.chunk_error import ChunkError, read_error

FinishReason = Literal["stop", "length"]


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
            return Chunk(error=read_error(chunk.get("error", chunk)))
        choices = chunk.get("choices") or [{}]
        reason = choices[0].get("finish_reason")
        return Chunk(
            text=str((choices[0].get("delta") or {}).get("content") or ""),
            finish_reason=None if reason is None else "length" if reason == "length" else "stop",
            usage=_usage(chunk),
        )
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"not a chunk of a chat completion: {raw[:100]}") from error


def _usage(chunk: dict[str, Any]) -> Usage | None:
    if timings := chunk.get("timings"):
        return Usage(timings["cache_n"], timings["prompt_n"], timings["predicted_n"])
    if usage := chunk.get("usage"):
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Usage(cached, usage["prompt_tokens"] - cached, usage["completion_tokens"])
    return None
