"""WhisperLive's protocol from the client's side, against a script of what it sends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.load.encodings import Piece
from benchmarks.load.pacing import Clock
from benchmarks.load.records import SessionPlan, SessionRecord, TurnPlan
from benchmarks.peers import whisperlive_talker
from benchmarks.peers.whisperlive_talker import WhisperLiveTalker

PIECES: list[Piece] = [(0.1, b"\x10\x00" * 1600), (0.2, b"\x10\x00" * 1600)]
START_S = 0.6


@asynccontextmanager
async def serving(script: Callable[[ServerConnection], Any]) -> AsyncIterator[str]:
    async with serve(script, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


def talk(script: Callable[[ServerConnection], Any]) -> SessionRecord:
    async def run() -> SessionRecord:
        async with serving(script) as url, asyncio.timeout(10):
            plan = SessionPlan(0, 0.0, (TurnPlan(0, START_S),))
            talker = WhisperLiveTalker(url, None, plan, [PIECES], Clock(time.monotonic()), 5.0)
            await talker.run()
            return talker.record

    return asyncio.run(run())


async def say(socket: ServerConnection, *texts: str) -> None:
    segments = [{"text": text, "start": "0", "end": "1", "completed": False} for text in texts]
    await socket.send(json.dumps({"uid": "u", "segments": segments}))


async def ready(socket: ServerConnection) -> None:
    hello = json.loads(await socket.recv())
    assert hello["language"] == "en"
    assert hello["use_vad"] is True
    await socket.send(json.dumps({"uid": hello["uid"], "message": "SERVER_READY"}))


async def heard(socket: ServerConnection) -> np.ndarray:
    data = await socket.recv()
    assert isinstance(data, bytes)
    return np.frombuffer(data, np.float32)


def test_the_final_text_is_the_last_that_changed() -> None:
    async def script(socket: ServerConnection) -> None:
        await ready(socket)
        first = await heard(socket)
        np.testing.assert_allclose(first, np.full(1600, 16 / 32768))
        await say(socket, " one")
        await heard(socket)
        await say(socket, " one", " two")
        for _ in range(4):
            await say(socket, " one", " two three")
        await socket.wait_closed()

    record = talk(script)
    turn = record.turns[0]
    assert turn.text == "one two three"
    assert turn.finals == turn.processed == 1
    assert turn.partials == 3
    assert turn.first_partial_s is not None
    assert turn.final_s is not None
    assert turn.first_partial_s < turn.speech_end_s <= turn.final_s
    assert turn.speech_end_s == pytest.approx(START_S + 0.2)
    assert record.errors == []


def test_a_text_that_was_right_before_the_end_counts_from_the_end() -> None:
    async def script(socket: ServerConnection) -> None:
        await ready(socket)
        await heard(socket)
        await say(socket, "all")
        await heard(socket)
        for _ in range(5):
            await say(socket, "all")
        await socket.wait_closed()

    turn = talk(script).turns[0]
    assert turn.final_s == turn.speech_end_s


def test_silence_is_a_turn_without_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisperlive_talker, "SETTLE_S", 0.2)

    async def script(socket: ServerConnection) -> None:
        await ready(socket)
        await socket.wait_closed()

    turn = talk(script).turns[0]
    assert turn.sent
    assert turn.final_s is None
    assert turn.finals == 0


def test_a_refusal_is_an_error_of_the_turn() -> None:
    async def script(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(json.dumps({"status": "WAIT", "message": 2}))

    record = talk(script)
    assert record.turns[0].error_code == "overloaded"
    assert record.errors == ['overloaded: {"status": "WAIT", "message": 2}']
