"""Connections that say nothing do not hold their place for ever."""

from __future__ import annotations

import asyncio

import pytest
from harness import (
    END,
    RAW,
    Talker,
    chunk,
    eventually,
    in_loop,
    pcm_s16le,
    running,
)

from engine.types import AudioConsumed
from server.idle import Idle, IdleWatch

PING_S = 0.02


def test_a_session_is_idle_when_nothing_was_sent_or_done_for_so_long() -> None:
    watch = IdleWatch(session_timeout_s=1000, idle_timeout_s=100, now=0)
    assert watch.check(0, False, False) == 100  # there may be a session soon
    assert watch.check(1, True, False) == 99
    watch.note(50)
    assert watch.check(100, True, False) == 50
    assert watch.check(150, True, True) == 100  # a reply is in flight
    assert watch.check(249, True, False) == 1
    idle = watch.check(250, True, False)
    assert isinstance(idle, Idle)
    assert (idle.code, idle.message) == ("idle", "Nothing was sent for 100 s.")


def test_without_a_session_nothing_that_is_sent_counts() -> None:
    watch = IdleWatch(session_timeout_s=5, idle_timeout_s=100, now=0)
    watch.note(4)
    assert watch.check(4, False, False) == 1
    idle = watch.check(5, False, False)
    assert isinstance(idle, Idle)
    assert idle.code == "session_required"
    assert watch.check(5, True, False) == 99


def test_zero_turns_either_off() -> None:
    assert IdleWatch(0, 0, 0).check(1e9, True, False) is None
    assert IdleWatch(0, 9, 0).check(1e9, False, False) == 9
    assert IdleWatch(9, 0, 0).check(1e9, True, False) is None
    assert IdleWatch(9, 0, 0).check(1, False, False) == 8


@in_loop
async def test_a_session_that_sends_nothing_is_told_so_and_closed() -> None:
    limits = {"idle_timeout_s": 0.8, "ping_interval_s": PING_S}
    async with running(limits) as server, server.talk(audio=RAW) as client:
        for _ in range(3):
            await asyncio.sleep(0.3)
            await client.send(chunk(pcm_s16le(10)))
            await client.get()
        error = await client.get()
        assert (error["type"], error["code"]) == ("error", "idle")
        assert "0.8 s" in error["message"]
        assert await client.close_code() == (4002, error["message"])
        await eventually(lambda: server.engine.open_keys == [])


@in_loop
async def test_a_reply_in_flight_is_no_idleness() -> None:
    limits = {"idle_timeout_s": 0.1}
    async with running(limits, holds=["llm"]) as server, server.talk(audio=RAW) as client:
        await client.send(chunk(pcm_s16le(100)), END)
        await eventually(lambda: len(server.engine.requests) == 1)
        await asyncio.sleep(0.4)
        server.engine.reply(server.engine.requests[0])
        await client.until("segment_processed")
        assert (await client.get())["code"] == "idle"


@in_loop
async def test_a_client_that_is_held_back_is_not_idle() -> None:
    limits = {"idle_timeout_s": 0.1, "max_buffered_s": 5}
    async with running(limits, holds=["audio"]) as server, server.talk(audio=RAW) as client:
        await client.send(chunk(pcm_s16le(6 * 16_000)))
        await asyncio.sleep(0.4)
        assert server.engine.open_keys == [0]
        await eventually(lambda: server.engine.fed[0] > 5 * 16_000)
        server.engine.emit(AudioConsumed(0, server.engine.fed[0]))
        await client.get()
        assert (await client.get())["code"] == "idle"


@pytest.mark.parametrize("noise", [None, "{", '{"type": "segment_end"}'])
@in_loop
async def test_a_socket_that_never_says_session_is_closed(noise: str | None) -> None:
    limits = {"session_timeout_s": 0.2, "ping_interval_s": PING_S}
    async with running(limits) as server, server.connect() as socket:
        client = Talker(socket)

        async def talk_nonsense() -> None:
            while noise is not None:
                await socket.send(noise)
                await asyncio.sleep(0.05)

        talking = asyncio.create_task(talk_nonsense())
        code, reason = await client.close_code()
        talking.cancel()
        assert code == 4002
        assert '"session"' in (reason or "")
