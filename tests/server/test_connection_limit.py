"""Connections are bounded, those without a session among them."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import uvloop
from harness import Talker, in_loop, running, settings
from test_http import fetch
from websockets.exceptions import InvalidStatus


def test_the_default_leaves_room_beside_the_sessions() -> None:
    assert settings(max_sessions=200).socket_limit == 216
    assert settings(max_sessions=200, max_connections=9).socket_limit == 9


@in_loop
async def test_one_more_is_refused_before_the_upgrade_until_another_leaves() -> None:
    async with running({"max_connections": 2}) as server:
        first = await server.connect()
        async with server.connect():
            with pytest.raises(InvalidStatus) as refused:
                await server.connect()
            response = refused.value.response
            assert response.status_code == 503
            assert int(response.headers["Retry-After"]) > 0
            assert b"2 connections" in response.body
            first.transport.abort()
            async with asyncio.timeout(5):
                while True:  # until the server has seen that it is gone
                    try:
                        third = await server.connect()
                        break
                    except InvalidStatus:
                        await asyncio.sleep(0.01)
            client = Talker(third)
            await client.send({"type": "session", "session_id": "x"})
            assert (await client.get())["type"] == "session_ack"
            await third.close()


@in_loop
async def test_many_handshakes_at_once_do_not_pass_the_limit() -> None:
    async with running({"max_connections": 5}) as server:

        async def one() -> object:
            try:
                return await server.connect()
            except InvalidStatus:
                return None

        opened = [socket for socket in await asyncio.gather(*(one() for _ in range(20))) if socket]
        assert len(opened) == 5
        for socket in opened:
            await socket.close()  # type: ignore[attr-defined]


@in_loop
async def test_plain_requests_take_no_place() -> None:
    async with running({"max_connections": 1}) as server, server.connect():
        for _ in range(3):
            assert (await fetch(server.url, "/health")).status == 200
        assert (await fetch(server.url, "/ws/audio")).status == 503
    async with running({"max_connections": 1}) as server:
        for _ in range(3):
            assert (await fetch(server.url, "/ws/audio")).status == 426  # no handshake at all
        async with server.connect():
            pass


def test_clients_that_close_at_once_leave_no_place_taken() -> None:
    """As the server runs: on uvloop such a connection is lost before its handshake is processed."""

    async def abort(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /ws/audio HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def main() -> None:
        async with running({"max_connections": 3}) as server:
            for _ in range(20):
                await abort(int(server.url.rpartition(":")[2]))
            async with asyncio.timeout(5):
                while True:
                    try:
                        async with server.connect():
                            return
                    except InvalidStatus:
                        await asyncio.sleep(0.01)

    uvloop.run(main())
