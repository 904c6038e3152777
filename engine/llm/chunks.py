"""One JSON chunk of a streamed chat completion: OpenAI's format, as many servers speak it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from engine.llm.chunk_error import ChunkError, read_error

FinishReason = Literal["stop", "length"]

# vLLM, SGLang, llama.cpp, DeepSeek; Ollama, newer vLLM
_THOUGHTS = ("reasoning_content", "reasoning")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply: prompt tokens found in the cache, computed, and generated."""

    cached: int
    computed: int
    generated: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """``thinks``: a model that reasons has gone on with that, which nobody is to hear."""

    text: str = ""
    thinks: bool = False
    finish_reason: FinishReason | None = None
    error: ChunkError | None = None
    usage: Usage | None = None


def parse(raw: str) -> Chunk:
    """Read one chunk, or the body of an error. Raises ``ValueError`` if it is neither."""
    try:
        chunk = json.loads(raw)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    try:
        if (error := chunk.get("error")) or chunk.get("object") == "error":
            return Chunk(error=read_error(error or chunk))
        choice = (chunk.get("choices") or [{}])[0]
        reason = choice.get("finish_reason") or None
        delta = choice.get("delta") or {}
        return Chunk(
            text=str(delta.get("content") or ""),
            thinks=any(delta.get(name) for name in _THOUGHTS),
            finish_reason=None if reason is None else "length" if reason == "length" else "stop",
            usage=_usage(chunk),
        )
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"not a chunk of a chat completion: {raw}") from error


def _usage(chunk: dict[str, Any]) -> Usage | None:
    """None where the server does not count, or not so that its numbers can be."""
    timings = _object(chunk, "timings")  # llama.cpp
    computed, generated = _count(timings, "prompt_n"), _count(timings, "predicted_n")
    if computed is not None and generated is not None:
        return Usage(_count(timings, "cache_n") or 0, computed, generated)
    usage = _object(chunk, "usage")
    prompt, generated = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if prompt is None or generated is None:
        return None
    cached = _count(_object(usage, "prompt_tokens_details"), "cached_tokens") or 0
    return Usage(min(cached, prompt), max(0, prompt - cached), generated)


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _count(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) and value >= 0 else None
