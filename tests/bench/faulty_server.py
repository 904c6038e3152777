"""A server of docs/PROTOCOL.md that hears perfectly, and does wrong what it is told to.

Clips are of one constant value, by which it knows what was said. Faults belong to connections,
by the order in which they come.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve

FAULTS = ("late", "lost_ack", "doubled", "swapped", "stalled", "mute", "rude")
FIRST_VALUE = 100
STEP = 100
LATE_S = 1.2


class Connection:
    def __init__(
        self, socket: ServerConnection, number: int, fault: str | None, texts: list[str]
    ) -> None:
        self._socket, self._number, self._fault, self._texts = socket, number, fault, texts
        self._heard = bytearray()
        self._turn = 0
        self._chunks = 0

    async def run(self) -> None:
        hello = json.loads(await self._socket.recv())
        await self._send(type="session_ack", session_id=hello["session_id"])
        async for data in self._socket:
            if isinstance(data, bytes):
                await self._hear(data)
            else:
                await self._answer()

    async def _hear(self, data: bytes) -> None:
        self._chunks += 1
        if self._fault == "stalled" and self._chunks == 3:
            await self._socket.wait_closed()
            return
        self._heard += data
        if not (self._fault == "lost_ack" and self._chunks == 2):
            await self._send(type="chunk_received")
        if self._fault == "rude" and self._chunks == 4:
            await self._send(type="error", code="audio_undecodable", message="no")

    async def _answer(self) -> None:
        value = int(np.frombuffer(self._heard[:2], "<i2")[0])
        clip = (value - FIRST_VALUE) // STEP
        self._heard.clear()
        if self._fault == "swapped":
            clip ^= 1
        text, turn = self._texts[clip], self._turn
        self._turn += 1
        if self._fault == "mute":
            return
        if self._fault == "late":
            await asyncio.sleep(LATE_S)
        await self._send(type="partial_transcription", turn=turn, text=text[:4], stable_chars=0)
        await self._send(type="transcription", turn=turn, text=text, language="en")
        await self._send(type="response_delta", turn=turn, text="Yes")
        for _ in range(2 if self._fault == "doubled" else 1):
            await self._send(type="chatbot_response", turn=turn, transcription=text, response="Yes")
        await self._send(type="segment_processed", turn=turn)

    async def _send(self, **message: Any) -> None:
        await self._socket.send(json.dumps(message))


@contextmanager
def serving(texts: list[str], faults: Mapping[int, str]) -> Iterator[str]:
    """The server's address; it runs on a thread of its own."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    address: list[str] = []
    stop = asyncio.Event()

    async def main() -> None:
        count = 0

        async def handle(socket: ServerConnection) -> None:
            nonlocal count
            number, count = count, count + 1
            await Connection(socket, number, faults.get(number), texts).run()

        async with serve(handle, "127.0.0.1", 0, compression=None, close_timeout=0.2) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            address.append(f"ws://127.0.0.1:{port}")
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
