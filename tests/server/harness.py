"""A real server on a loopback port around a ``FakeEngine``, and a client to talk to it."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from fake_engine import FakeEngine
from websockets.asyncio.client import ClientConnection, connect

from engine.client import Deliver
from server.config import Settings
from server.service import Service

TIMEOUT_S = 20
Body = dict[str, Any]


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own, bounded in time."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(TIMEOUT_S):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


@dataclass
class Running:
    service: Service
    engine: FakeEngine
    url: str
    task: asyncio.Task[None]

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws/audio"

    def connect(self, **kwargs: Any) -> connect:
        return connect(self.ws_url, compression=None, **kwargs)

    @asynccontextmanager
    async def talk(
        self, ssl_context: ssl.SSLContext | None = None, **session: Any
    ) -> AsyncIterator[Talker]:
        """A client with an open session."""
        secure = {} if ssl_context is None else {"ssl": ssl_context}
        async with self.connect(**secure) as socket:
            talker = Talker(socket)
            body = {"type": "session", "session_id": "s"} | session
            await talker.send(body)
            talker.ack = await talker.get()
            assert talker.ack["type"] == "session_ack", talker.ack
            yield talker


class Talker:
    ack: Body

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, *bodies: Body) -> None:
        for body in bodies:
            await self.socket.send(json.dumps(body))

    async def get(self) -> Body:
        body = json.loads(await self.socket.recv())
        assert isinstance(body, dict)
        return body

    async def many(self, count: int) -> list[Body]:
        return [await self.get() for _ in range(count)]

    async def until(self, kind: str) -> list[Body]:
        """Messages up to and with the next of this type."""
        bodies = [await self.get()]
        while bodies[-1]["type"] != kind:
            bodies.append(await self.get())
        return bodies

    async def close_code(self) -> tuple[int | None, str | None]:
        await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason


def settings(**overrides: Any) -> Settings:
    return Settings.model_validate({"port": 0, "llm": "echo"} | overrides)


@asynccontextmanager
async def running(
    overrides: dict[str, Any] | None = None, engine: type[FakeEngine] = FakeEngine, **fake: Any
) -> AsyncIterator[Running]:
    """A server that is ready; it is stopped at the end, and must stop cleanly."""
    made: list[FakeEngine] = []
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def make(given: Settings, deliver: Deliver) -> FakeEngine:
        made.append(engine(given, deliver, **fake))
        return made[-1]

    service = Service(settings(**(overrides or {})), make)
    task = asyncio.create_task(service.run(ready.set_result))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    server = Running(service, made[0], ready.result(), task)
    try:
        yield server
    finally:
        service.stop()
        await task
        assert made[0].closed


def pcm_s16le(samples: int, value: int = 1000) -> bytes:
    """Raw audio of so many samples, constant and so not silent."""
    return np.full(samples, value, "<i2").tobytes()


RAW = {"format": "pcm_s16le"}


def chunk(data: bytes) -> Body:
    return {"type": "audio_chunk", "data": base64.b64encode(data).decode()}


END = {"type": "segment_end"}
CANCEL = {"type": "cancel"}


def cut(text: str, size: int) -> Iterator[Body]:
    """Base64 text in audio chunks of ``size`` characters."""
    for start in range(0, len(text), size):
        yield {"type": "audio_chunk", "data": text[start : start + size]}


async def eventually(condition: Callable[[], bool]) -> None:
    """Let the loop run until a condition of another task holds (the test's limit bounds it)."""
    while not condition():
        await asyncio.sleep(0.001)
