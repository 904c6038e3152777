"""What an error means that a server of OpenAI's protocol tells, each in words of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

# A prompt is too long, or leaves no room for the reply.
_OVERFLOWS = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_OVERFLOW = re.compile(
    r"maximum context length"  # OpenAI, vLLM, SGLang
    r"|longer than the (?:model's context length|maximum model length)"  # SGLang; vLLM
    # llama.cpp; Ollama; SGLang
    r"|exceeds the (?:available context size|context length|maximum allowed length)"
    r"|greater than max_seq_len"  # TabbyAPI
    r"|not exceed max_num_tokens"  # TensorRT-LLM
)
_CONTEXT = re.compile(
    r"(?:maximum context length (?:is|of)|maximum model length of|max_seq_len"
    r"|context length|context size|maximum allowed length|max_num_tokens) \(?(\d+)"
)
# The first that is found counts: what stands for the prompt alone before what stands for all.
_PROMPTS = (
    re.compile(
        r"(\d+) (?:tokens )?"
        r"(?:input tokens|from the input|in the messages|in the prompt|of text input)"
    ),
    re.compile(r"(?:input|request|length) \(?(\d+)", re.IGNORECASE),
    re.compile(r"(?:requested|resulted in)(?: about| over)? (\d+) tokens"),
)
# What chat templates say that know no system role: the turns that we send do alternate.
_NO_SYSTEM = re.compile(
    r"System role not supported"  # Gemma
    r"|Conversation roles must alternate|Only user and assistant roles are supported"  # Mistral
)
SYSTEM = "system"
_UNSUPPORTED = re.compile(
    r"unsupported (?:parameter|value): '(\w+)'|'(\w+)' is not supported", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Overflow:
    """A prompt did not fit; how many tokens it and the context have, where the server tells."""

    prompt_tokens: int | None = None
    context_tokens: int | None = None

    def sizes(self, estimated_tokens: int) -> tuple[int, int]:
        """Tokens of a prompt, ``estimated_tokens`` by our own count, and of the context.

        A context that is not told is taken for half of the prompt: too little loses some turns,
        too much would be refused again.
        """
        tokens = self.prompt_tokens or estimated_tokens
        if self.context_tokens is None:
            return tokens, tokens // 2
        return (self.prompt_tokens or max(tokens, self.context_tokens)), self.context_tokens


@dataclass(frozen=True, slots=True)
class ChunkError:
    """``unsupported`` names a field of the request, or ``SYSTEM``, which the server never takes."""

    message: str
    overflow: Overflow | None = None
    unsupported: str | None = None


def read_error(error: object) -> ChunkError:
    """What stands under ``error``: an object, or only its text."""
    fields = error if isinstance(error, dict) else {"message": error}
    message = str(fields.get("message", error))
    if _OVERFLOWS & {str(fields.get("code")), str(fields.get("type"))} or _OVERFLOW.search(message):
        return ChunkError(message, overflow=_overflow(fields, message))
    return ChunkError(message, unsupported=_unsupported(fields, message))


def _overflow(fields: dict[str, Any], message: str) -> Overflow:
    """llama.cpp has fields for the numbers, all others only say them."""
    prompts = (found for pattern in _PROMPTS if (found := pattern.search(message)))
    return Overflow(
        _count(fields.get("n_prompt_tokens")) or _number(next(prompts, None)),
        _count(fields.get("n_ctx")) or _number(_CONTEXT.search(message)),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _number(found: re.Match[str] | None) -> int | None:
    return int(found[1]) if found else None


def _unsupported(fields: dict[str, Any], message: str) -> str | None:
    """OpenAI says so in ``code`` and ``param``; what stands between may pass on the text alone."""
    if str(fields.get("code")).startswith("unsupported_") and fields.get("param"):
        return str(fields["param"])
    if _NO_SYSTEM.search(message):
        return SYSTEM
    found = _UNSUPPORTED.search(message)
    return found and (found[1] or found[2])
