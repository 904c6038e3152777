"""An id that has a slot keeps it, whoever opens it again and whatever the load is."""

from __future__ import annotations

import pytest
from fake_engine import FakeEngine
from harness import (
    END,
    RAW,
    Talker,
    chunk,
    eventually,
    in_loop,
    pcm_s16le,
    running,
    settings,
)

from engine.errors import Overloaded
from engine.types import SessionOptions
from server import connection
from server.hub import Hub

OPTIONS = SessionOptions()


class Holder:
    """A listener that gives its session up when it is told to."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.told: list[str] = []

    def claim(self, session_id: str, held: int | None = None) -> int:
        key, conversation = self.hub.claim(session_id, OPTIONS, self, held)
        self.mine = session_id, key, conversation
        return key

    def release(self) -> None:
        self.told.append("release")
        self.hub.release(*self.mine)

    def displace(self) -> None:
        self.told.append("displace")
        self.hub.release(*self.mine)

    def on_event(self, event: object) -> None: ...

    def fail(self, error: Exception) -> None:
        raise AssertionError from error

    def drain(self) -> None: ...


def hub_with_engine() -> tuple[Hub, FakeEngine]:
    hub = Hub(settings())
    engine = FakeEngine(hub.settings, hub.deliver)
    engine.start()
    hub.engine = engine
    return hub, engine


@pytest.mark.parametrize("ready", [True, False])
@in_loop
async def test_a_takeover_under_load_gets_the_old_ones_slot(ready: bool) -> None:
    hub, engine = hub_with_engine()
    old, new, other = Holder(hub), Holder(hub), Holder(hub)
    old.claim("id")
    engine.lags, engine.ready = True, ready
    with pytest.raises(Overloaded):
        other.claim("another id")
    assert (old.told, engine.open_keys) == ([], [0])
    assert new.claim("id") == 1
    assert (old.told, new.told, engine.open_keys) == (["displace"], [], [1])


@pytest.mark.parametrize("session_id", ["id", "another id"])
@in_loop
async def test_a_listener_passes_its_own_slot_on(session_id: str) -> None:
    hub, engine = hub_with_engine()
    one = Holder(hub)
    key = one.claim("id")
    engine.lags = True
    assert one.claim(session_id, held=key) == 1
    assert (one.told, engine.open_keys) == (["release"], [1])


@in_loop
async def test_a_listener_with_a_slot_that_takes_an_id_over_leaves_one_free() -> None:
    hub, engine = hub_with_engine()
    old, new = Holder(hub), Holder(hub)
    old.claim("id")
    key = new.claim("another id")
    engine.lags = True
    new.claim("id", held=key)
    assert (old.told, new.told, engine.open_keys) == (["displace"], ["release"], [2])


@in_loop
async def test_over_sockets_neither_takeover_nor_reopening_is_refused_under_load() -> None:
    async with running(capacity=1) as server, server.talk(session_id="x", audio=RAW) as old:
        server.engine.lags = True
        await old.send({"type": "session", "session_id": "x", "audio": RAW, "language": "de"})
        assert (await old.get())["type"] == "session_ack"
        await old.send(chunk(pcm_s16le(100)), END)
        await old.until("segment_processed")
        async with server.talk(session_id="x", audio=RAW) as new:
            assert (await old.close_code())[0] == 4001
            await new.send(chunk(pcm_s16le(200)), END)
            assert (await new.until("segment_processed"))[-2]["transcription"] == "200 samples"
            assert len(server.engine.requests[-1].messages) == 4
            assert server.engine.open_keys == [2]


@in_loop
async def test_a_socket_that_was_open_begins_no_session_while_the_server_is_not_ready() -> None:
    async with running() as server, server.connect() as socket:
        server.engine.ready, server.engine.problem = False, "The language model is gone."
        client = Talker(socket)
        await client.send({"type": "session", "session_id": "x"})
        error = await client.get()
        assert (error["code"], error["message"]) == ("overloaded", "The language model is gone.")
        assert error["retry_after_ms"] > 0
        assert (await client.close_code())[0] == 1013
        server.engine.ready = True


@pytest.mark.parametrize("part", ["Session", "Intake"])
@in_loop
async def test_a_session_that_cannot_be_built_leaks_no_slot(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("a planted bug")

    async with running(capacity=1) as server:
        with monkeypatch.context() as planted:
            planted.setattr(connection, part, broken)
            async with server.connect() as socket:
                client = Talker(socket)
                await client.send({"type": "session", "session_id": "x"})
                assert (await client.get())["code"] == "internal"
                assert (await client.close_code())[0] == 1011
        await eventually(lambda: server.engine.open_keys == [])
        async with server.talk(session_id="x"):
            pass
