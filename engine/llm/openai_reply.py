"""One reply from an OpenAI-compatible server: tries, the fitting of the prompt, the counting."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.config import EngineSettings
from engine.errors import LlmFailed
from engine.llm.chunk_error import Overflow
from engine.llm.chunks import Chunk, Usage
from engine.llm.openai_http import AttemptFailed, OpenAiHttp
from engine.llm.prompt import Messages, estimate_tokens, fit, shrink, too_long
from engine.llm.usage import count, count_estimated
from engine.types import Failure, GenerateRequest, LlmEvent, ResponseDelta

_FIRST_BACKOFF_S = 0.25
_LONGEST_BACKOFF_S = 5.0  # whoever is to wait longer than that is told so instead
_ONLY_THOUGHT = (
    "the language model thought until its reply was over, and said nothing: raise llm_max_tokens, "
    "or turn its thinking off with llm_extra_body"
)


class Reply:
    """Tells pieces as they come, and how the reply ended if it did; else ``run`` raises.

    A model that reasons may spend all its tokens on that: such a reply has failed.
    """

    def __init__(
        self,
        http: OpenAiHttp,
        model: str,
        request: GenerateRequest,
        settings: EngineSettings,
        tell: Callable[[LlmEvent], None],
    ) -> None:
        self._http = http
        self._model = model
        self._request = request
        self._settings = settings
        self._tell = tell
        self._id = request.key, request.turn_id
        self._text: list[str] = []
        self._thought = False
        self._usage: Usage | None = None

    async def run(self) -> None:
        """Returns when all is told and counted. Raises ``AttemptFailed``."""
        context = self._settings.llm_context_tokens
        reply = min(self._request.max_tokens, context // 2)
        messages: Messages | None = fit(self._request.messages, context - reply)
        overflow: Overflow | None = None
        while messages is not None:
            try:
                return await self._try(replace(self._request, messages=messages, max_tokens=reply))
            except AttemptFailed as failed:
                overflow = failed.overflow
                if overflow is None or self._text:
                    raise
                tokens, context = overflow.sizes(estimate_tokens(messages))
                reply = min(reply, context // 2)
                messages = shrink(messages, tokens, context - reply)
        assert overflow is not None
        told = too_long(overflow.prompt_tokens, overflow.context_tokens)
        raise AttemptFailed(LlmFailed(told), overflow=overflow)

    async def _try(self, request: GenerateRequest) -> None:
        """Again and again until something is heard, or trying again makes no sense."""
        tries = 0
        while True:
            try:
                await self._attempt(request)
                return
            except AttemptFailed as failed:
                wait_s = backoff_s(tries, failed.retry_after_s, random.random())
                tries += 1
                spent = tries > self._settings.llm_retries or wait_s > _LONGEST_BACKOFF_S
                if not failed.retry or self._text or spent:
                    raise
            await asyncio.sleep(wait_s)

    async def _attempt(self, request: GenerateRequest) -> None:
        extra = self._settings.llm_extra_body
        try:
            await self._http.stream(body(self._model, request, extra), self._hear)
        finally:
            self._count(request.messages)
        if self._only_thought:
            self._tell(Failure(*self._id, LlmFailed.code, _ONLY_THOUGHT))

    def _hear(self, chunk: Chunk) -> None:
        if chunk.usage is not None:
            self._usage = chunk.usage  # some servers send it with every chunk
        if chunk.text:
            self._text.append(chunk.text)
        self._thought = self._thought or chunk.thinks
        ended = None if self._only_thought else chunk.finish_reason
        if chunk.text or ended:
            self._tell(ResponseDelta(*self._id, chunk.text, ended))

    @property
    def _only_thought(self) -> bool:
        return self._thought and not any(text.strip() for text in self._text)

    def _count(self, messages: Messages) -> None:
        """Where the server does not say, e.g. of a reply that was cut short: an estimate."""
        if self._usage is not None:
            count(self._usage)
        elif self._text:
            count_estimated(messages, "".join(self._text))


def body(model: str, request: GenerateRequest, extra_body: str) -> dict[str, Any]:
    """The fields of the request, without what the server need not be told.

    ``extra_body`` is a JSON object of further ones.
    """
    sampling = request.sampling
    fields: dict[str, Any] = json.loads(extra_body) | {
        "model": model,
        "messages": request.messages,
        "max_tokens": request.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.stop:
        fields["stop"] = sampling.stop
    if sampling.seed is not None:
        fields["seed"] = sampling.seed
    return fields


def backoff_s(tries: int, retry_after_s: float, jitter: float) -> float:
    """How long to wait after so many failed tries before: doubling, ``jitter`` in [0, 1] on top.

    Never less than the server asks for.
    """
    return max(retry_after_s, _FIRST_BACKOFF_S * float(2**tries) * (0.5 + 0.5 * jitter))
