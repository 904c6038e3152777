"""Tokens on their way into the metrics."""

from __future__ import annotations

from engine.llm.chunks import Usage
from engine.llm.prompt import Messages, estimate_tokens
from engine.metrics import LLM_TOKENS
from engine.types import Message


def count(usage: Usage) -> None:
    LLM_TOKENS.labels("cached").inc(usage.cached)
    LLM_TOKENS.labels("prompt").inc(usage.computed)
    LLM_TOKENS.labels("generated").inc(usage.generated)


def count_estimated(prompt: Messages, text: str) -> None:
    """Where nobody counted: kinds of their own, so that nobody takes them for counts."""
    said = Message("assistant", text)
    LLM_TOKENS.labels("prompt_estimated").inc(estimate_tokens(prompt))
    LLM_TOKENS.labels("generated_estimated").inc(estimate_tokens([said]))
