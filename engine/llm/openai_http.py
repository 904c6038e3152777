"""One request to an OpenAI-compatible server, and what its failures mean."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx2

from engine.config import EngineSettings
from engine.errors import AntiphonError, DeadlineExceeded, LlmFailed, Overloaded
from engine.llm.chunk_error import ChunkError, Overflow
from engine.llm.chunks import Chunk, parse
from engine.llm.openai_dialect import Dialect

_MAX_ERROR_BYTES = 64 << 10
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
_MAX_TOLD_CHARS = 300
_LONGEST_RETRY_AFTER_S = 3600.0
_USAGE_WAIT_S = 2.0  # servers send it right after the end of the reply, or not at all
# The request was not worked on, or not to its end; another try may find the server well.
_WORTH_A_RETRY = frozenset({408, 425, 429, 500, 502, 503, 504})
_BUSY = frozenset({429, 503})
_BYTES_PER_TOKEN = 4  # about, in any script
_MOST_BYTES_PER_TOKEN = 64  # on average over a reply, for servers that join tokens

log = logging.getLogger(__name__)


class AttemptFailed(Exception):
    """``error`` is what a client is told if nobody tries again."""

    def __init__(
        self,
        error: AntiphonError,
        *,
        retry: bool = False,
        retry_after_s: float = 0.0,
        overflow: Overflow | None = None,
        unsupported: str | None = None,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry = retry
        self.retry_after_s = retry_after_s
        self.overflow = overflow
        self.unsupported = unsupported

    @property
    def may_pass(self) -> bool:
        """The server may be starting, or busy; else something is set wrongly."""
        return self.retry or isinstance(self.error, DeadlineExceeded)

    @property
    def retry_after_ms(self) -> int | None:
        return self.error.retry_after_ms if isinstance(self.error, Overloaded) else None

    @property
    def answered(self) -> bool:
        """The server is well, and has its reasons."""
        return self.overflow is not None or isinstance(self.error, Overloaded)


@dataclass(slots=True)
class _Progress:
    """How far a stream is, and with it how long its next piece may take."""

    idle_timeout_s: float
    max_tokens: int
    said: bool = False
    ended: bool = False
    pieces: int = 0
    bytes: int = 0

    def passes_limit(self, chunk: Chunk) -> bool:
        """With ``chunk``, the reply is longer than any of ``max_tokens``.

        A piece is a token or more, except from servers that cut a reply anew, into letters for
        instance; therefore the text must be as long as well.
        """
        if self.ended or not (chunk.text or chunk.thinks):
            return False
        self.pieces += 1
        self.bytes += len(chunk.text.encode("utf-8", "replace")) or _BYTES_PER_TOKEN
        many = self.pieces > self.max_tokens
        return (many and self.bytes > _BYTES_PER_TOKEN * self.max_tokens) or (
            self.bytes > _MOST_BYTES_PER_TOKEN * self.max_tokens + _MOST_BYTES_PER_TOKEN
        )

    def note(self, chunk: Chunk, limit: asyncio.Timeout) -> None:
        """Only text, thoughts and the end are progress: servers send signs of life as well."""
        now = asyncio.get_running_loop().time()
        if chunk.finish_reason is not None:
            self.ended = True
            limit.reschedule(now + _USAGE_WAIT_S)
        elif (chunk.text or chunk.thinks) and not self.ended:
            self.said = True
            limit.reschedule(now + self.idle_timeout_s)


class OpenAiHttp:
    """A pool of connections to one server. Belongs to one event loop."""

    def __init__(self, settings: EngineSettings, key: str | None) -> None:
        assert settings.llm_url is not None
        self._settings = settings
        self._key = key
        self._dialect = Dialect()
        self._ignores_limit = False
        self._client = httpx2.AsyncClient(
            base_url=base_url(settings.llm_url),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # Reading has limits of its own, which know a piece of text from a sign of life.
            timeout=httpx2.Timeout(None, connect=settings.llm_connect_timeout_s),
            # A proxy named by the environment does not know this machine's own servers.
            trust_env=httpx2.URL(settings.llm_url).host not in _THIS_MACHINE,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=16),
        )

    async def first_model(self) -> str:
        """The first of the models that the server lists. Raises ``AttemptFailed``."""
        try:
            async with asyncio.timeout(self._settings.llm_first_token_timeout_s):
                response = await self._client.get("models")
            if response.status_code != 200:
                raise self._refused(response, response.text)
            return str(response.json()["data"][0]["id"])
        except (TimeoutError, httpx2.HTTPError) as error:
            raise self._lost(error, said=False) from error
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            message = "the server lists no models: name one with --llm-model"
            raise AttemptFailed(LlmFailed(message)) from error

    async def stream(self, body: Mapping[str, Any], hear: Callable[[Chunk], None]) -> None:
        """Send ``body``, give each chunk to ``hear``; returns when the reply has ended.

        A reply that goes on past ``max_tokens`` is cut off there. What the server refuses as
        unsupported is said in another way, where there is one.
        Raises ``AttemptFailed``. When cancelled it closes the stream.
        """
        while True:
            said = self._dialect.of(body)
            try:
                return await self._stream(said, int(body["max_tokens"]), hear)
            except AttemptFailed as failed:
                if not self._dialect.learn(failed.unsupported, said):
                    raise

    async def _stream(
        self, body: Mapping[str, Any], max_tokens: int, hear: Callable[[Chunk], None]
    ) -> None:
        progress = _Progress(self._settings.llm_idle_timeout_s, max_tokens)
        try:
            async with (
                asyncio.timeout(self._settings.llm_first_token_timeout_s) as limit,
                aclosing(self._chunks(body)) as chunks,
            ):
                async for chunk in chunks:
                    if progress.passes_limit(chunk):
                        self._note_ignored_limit()
                        hear(Chunk(finish_reason="length"))
                        return
                    hear(chunk)
                    progress.note(chunk, limit)
        except (TimeoutError, httpx2.HTTPError, ValueError) as error:
            if not progress.ended:
                raise self._lost(error, progress.said) from error
        if not progress.ended:
            message = "the language model's server ended its reply in the middle"
            raise AttemptFailed(LlmFailed(message), retry=True)

    async def _chunks(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        async with self._client.stream("POST", "chat/completions", json=body) as response:
            if response.status_code != 200:
                raise self._refused(response, await _text(response))
            ended = False
            async for event in httpx2.EventSource(response):
                if event.data == "[DONE]":
                    if not ended:  # some servers never give a finish_reason
                        yield Chunk(finish_reason="stop")
                    ended = True
                    continue  # to the end of the body, so that the connection can be used again
                chunk = parse(event.data)
                ended = ended or chunk.finish_reason is not None
                if chunk.error is not None:
                    raise self._failed(chunk.error)
                yield chunk

    async def close(self) -> None:
        await self._client.aclose()

    def _note_ignored_limit(self) -> None:
        if not self._ignores_limit:
            log.warning("the language model's server ignores `max_tokens`: replies are cut off")
        self._ignores_limit = True

    def _refused(self, response: httpx2.Response, body: str) -> AttemptFailed:
        status = response.status_code
        try:
            told = parse(body).error or ChunkError(response.reason_phrase)
        except ValueError:
            told = ChunkError(response.reason_phrase)
        if told.overflow is not None:
            return self._failed(told)
        if status in (401, 403):
            message = (
                f"the language model's server refuses the key ({status}): "
                "set ANTIPHON_LLM_KEY or --llm-key-file"
            )
            return AttemptFailed(LlmFailed(message))
        message = f"the language model's server answered {status}: {self._short(told.message)}"
        after_s = _retry_after_s(response)
        if status in _BUSY:
            busy = Overloaded(message, retry_after_ms=max(1000, round(after_s * 1000)))
            return AttemptFailed(busy, retry=True, retry_after_s=after_s)
        return AttemptFailed(
            LlmFailed(message),
            retry=status in _WORTH_A_RETRY,
            retry_after_s=after_s,
            unsupported=told.unsupported,
        )

    def _failed(self, told: ChunkError) -> AttemptFailed:
        """An error that came in the stream, or a prompt that is too long."""
        error = LlmFailed(f"the language model failed: {self._short(told.message)}")
        return AttemptFailed(error, overflow=told.overflow)

    def _lost(self, error: Exception, said: bool) -> AttemptFailed:
        if isinstance(error, TimeoutError):
            settings = self._settings
            limit_s = settings.llm_idle_timeout_s if said else settings.llm_first_token_timeout_s
            what = "fell silent for" if said else "said nothing for"
            return AttemptFailed(DeadlineExceeded(f"the language model {what} {limit_s:g} s"))
        message = f"the language model's server {self._short(_why(error))}"
        return AttemptFailed(LlmFailed(message), retry=True)

    def _short(self, told: str) -> str:
        """What a server tells goes to clients and into the log, but not our key, if it names it."""
        return (told.replace(self._key, "***") if self._key else told)[:_MAX_TOLD_CHARS]


def base_url(url: str) -> str:
    """``url`` as clients of this protocol mean it: with ``/v1`` where no path is given."""
    parsed = httpx2.URL(url)
    return str(parsed.copy_with(path="/v1/")) if parsed.path in ("", "/") else url


async def _text(response: httpx2.Response) -> str:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _MAX_ERROR_BYTES:
            break
    return bytes(body[:_MAX_ERROR_BYTES]).decode("utf-8", "replace")


def _retry_after_s(response: httpx2.Response) -> float:
    """Seconds; a date, which the header may hold too, counts for nothing."""
    try:
        return min(max(0.0, float(response.headers.get("retry-after", 0))), _LONGEST_RETRY_AFTER_S)
    except ValueError:
        return 0.0


def _why(error: Exception) -> str:
    if isinstance(error, httpx2.ConnectTimeout):
        return "does not take connections (timed out)"
    if isinstance(error, httpx2.ConnectError):
        return f"cannot be reached: {error}"
    if isinstance(error, ValueError):
        return f"sent nonsense: {error}"
    return f"broke off: {error or type(error).__name__}"
