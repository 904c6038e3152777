"""Turns spoken to a real server: what is sent, and what must come back."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import numpy as np

from engine.types import SAMPLE_RATE, Pcm
from server.audio_file import read_pcm
from server.client import Client, Message

RAW = {"format": "pcm_s16le", "sample_rate": SAMPLE_RATE}
WAIT_S = 90


def spoken(path: Path) -> bytes:
    """16 kHz mono s16 PCM of a recording."""
    return b"".join(read_pcm(path))


def pcm16(pcm: Pcm) -> bytes:
    return (np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes()


def silence(seconds: float) -> bytes:
    return bytes(round(seconds * SAMPLE_RATE) * 2)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


async def send(client: Client, audio: bytes, chunk: int = 6400, *, base64: bool = False) -> int:
    """Send ``audio`` in chunks; returns how many."""
    pieces = [audio[i : i + chunk] for i in range(0, len(audio), chunk)]
    for piece in pieces:
        await client.send_audio(piece, base64=base64)
    return len(pieces)


async def until(client: Client, kind: str, count: int = 1) -> list[Message]:
    """All messages up to the ``count``-th one of a type."""
    seen: list[Message] = []
    async with asyncio.timeout(WAIT_S):
        async for message in client:
            seen.append(message)
            count -= message["type"] == kind
            if not count:
                return seen
    raise AssertionError(f"the server closed before {kind}")


async def ask(client: Client, audio: bytes, *, base64: bool = False) -> list[Message]:
    """One turn: all that comes back, up to ``segment_processed``."""
    await send(client, audio, base64=base64)
    await client.end_segment()
    return await until(client, "segment_processed")


def of(messages: list[Message], kind: str) -> list[Message]:
    return [m for m in messages if m["type"] == kind]


def answer(messages: list[Message]) -> Message:
    """The one ``chatbot_response``, which must stand right before ``segment_processed``."""
    assert len(of(messages, "chatbot_response")) == 1
    assert [m["type"] for m in messages[-2:]] == ["chatbot_response", "segment_processed"]
    return messages[-2]
