"""Clients that talk to a server in real time, and how they are measured."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from server.audio_file import BYTES_PER_S
from server.client import Client

T = TypeVar("T")
_CHUNK_S = 0.1
_CHUNK_BYTES = int(BYTES_PER_S * _CHUNK_S)


def percentiles(name: str, values_ms: list[float]) -> dict[str, float]:
    """``values_ms`` in short, for a result's ``extra_info``."""
    p50, p90, p99 = np.percentile(values_ms, [50, 90, 99])
    return {
        f"{name}_count": len(values_ms),
        f"{name}_p50_ms": round(float(p50), 3),
        f"{name}_p90_ms": round(float(p90), 3),
        f"{name}_p99_ms": round(float(p99), 3),
        f"{name}_max_ms": round(max(values_ms), 3),
    }


class Background:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` on the loop and wait for what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @contextmanager
    def around(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """``context`` entered and left on the loop, and open while this is."""
        value = self.run(_call(context.__aenter__))
        try:
            yield value
        finally:
            self.run(_call(context.__aexit__, None, None, None))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _call(method: Callable[..., Awaitable[T]], *args: object) -> T:
    return await method(*args)


@dataclass
class Speaker:
    """One conversation: it says an utterance in real time and waits for the reply."""

    client: Client
    ack_ms: list[float] = field(default_factory=list)
    transcript_ms: list[float] = field(default_factory=list)
    first_token_ms: list[float] = field(default_factory=list)
    reply_ms: list[float] = field(default_factory=list)
    _sent_at: deque[float] = field(default_factory=deque)
    _ended_at: float = 0.0
    _spoke: bool = False
    _answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def say(self, pcm: bytes) -> None:
        """Send ``pcm`` as a microphone would, end the segment, wait until it is processed."""
        began, self._spoke = time.perf_counter(), False
        self._answered.clear()
        for number, start in enumerate(range(0, len(pcm), _CHUNK_BYTES), 1):
            await asyncio.sleep(began + number * _CHUNK_S - time.perf_counter())
            self._sent_at.append(time.perf_counter())
            await self.client.send_audio(pcm[start : start + _CHUNK_BYTES])
        self._ended_at = time.perf_counter()
        await self.client.end_segment()
        await self._answered.wait()

    async def listen(self) -> None:
        """Take every message until the client is closed."""
        async for message in self.client:
            self._hear(message["type"], time.perf_counter())

    def _hear(self, kind: str, now: float) -> None:
        since_end_ms = (now - self._ended_at) * 1e3
        if kind == "chunk_received":
            self.ack_ms.append((now - self._sent_at.popleft()) * 1e3)
        elif kind == "transcription":
            self.transcript_ms.append(since_end_ms)
        elif kind == "response_delta" and not self._spoke:
            self._spoke = True
            self.first_token_ms.append(since_end_ms)
        elif kind == "chatbot_response":
            self.reply_ms.append(since_end_ms)
        elif kind == "segment_processed":
            self._answered.set()


@asynccontextmanager
async def speaker(url: str) -> AsyncIterator[Speaker]:
    """A conversation with all its events, open while the context is."""
    options = {"events": ["partial", "transcript", "token"], "language": "en"}
    audio = {"format": "pcm_s16le", "sample_rate": 16_000}
    async with await Client.connect(url, audio=audio, **options) as client:
        one = Speaker(client)
        listening = asyncio.create_task(one.listen())
        yield one
        await client.close()
        await listening


async def converse(url: str, pcm: bytes, turns: int, delay_s: float = 0.0) -> Speaker:
    """One conversation of ``turns`` turns, begun after ``delay_s``."""
    await asyncio.sleep(delay_s)
    async with speaker(url) as one:
        for _ in range(turns):
            await one.say(pcm)
    return one


async def crowd(url: str, pcm: bytes, speakers: int, turns: int) -> list[Speaker]:
    """``speakers`` conversations at once, each begun a little later than the last."""
    step_s = len(pcm) / BYTES_PER_S / speakers
    talks = (converse(url, pcm, turns, number * step_s) for number in range(speakers))
    return await asyncio.gather(*talks)


@asynccontextmanager
async def crowd_around(url: str, pcm: bytes, speakers: int) -> AsyncIterator[None]:
    """``speakers`` conversations, all begun, that go on for as long as the context is open."""
    endless, step_s = 1 << 30, 0.6
    talks = asyncio.gather(
        *(converse(url, pcm, endless, number * step_s) for number in range(speakers))
    )
    try:
        await asyncio.sleep((speakers + 1) * step_s)
        yield
    finally:
        talks.cancel()
        with suppress(asyncio.CancelledError):
            await talks
