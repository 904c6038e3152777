"""A bug that shows in one session costs nobody else anything, and that client is told."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fake_engine import FakeEngine
from harness import (
    END,
    RAW,
    chunk,
    eventually,
    in_loop,
    pcm_s16le,
    running,
    settings,
)

from engine.types import Event, Failure, Pcm, Transcript
from server.hub import Hub
from server.session import Session

PLANTED = "a planted bug"


class Recorder:
    """A listener of the hub; the events of ``raises`` make it raise."""

    def __init__(self, raises: type[Event] | None = None, fail_raises: bool = False) -> None:
        self.events: list[Event] = []
        self.failed_with: list[Exception] = []
        self._raises = raises
        self._fail_raises = fail_raises

    def on_event(self, event: Event) -> None:
        if self._raises is not None and isinstance(event, self._raises):
            raise AssertionError(PLANTED)
        self.events.append(event)

    def fail(self, error: Exception) -> None:
        self.failed_with.append(error)
        if self._fail_raises:
            raise RuntimeError("and another")

    def release(self) -> None: ...

    def displace(self) -> None: ...

    def drain(self) -> None: ...


@pytest.mark.parametrize("fail_raises", [False, True])
@in_loop
async def test_a_batch_of_events_reaches_all_others(fail_raises: bool) -> None:
    hub = Hub(settings())
    before, broken, after = Recorder(), Recorder(Transcript, fail_raises), Recorder()
    hub._listeners = {0: before, 1: broken, 2: after}
    events = [Transcript(key, 0, "words", 5, is_final=True) for key in (0, 1, 2)]
    hub.deliver([*events, Failure(1, 1, "asr_failed", "later")])
    await asyncio.sleep(0.01)
    assert (before.events, after.events) == ([events[0]], [events[2]])
    assert [str(error) for error in broken.failed_with] == [PLANTED]


def breaks_in(monkeypatch: pytest.MonkeyPatch, where: str) -> type[FakeEngine]:
    """An engine, or a ``Session``, whose method raises for the session with system ``broken``."""

    def planted(original: object) -> object:
        def method(self: Session, *args: object) -> object:
            if self._policy.system == "broken":
                raise AssertionError(PLANTED)
            return original(self, *args)  # type: ignore[operator]

        return method

    class Engine(FakeEngine):
        def feed(self, key: int, pcm: Pcm) -> None:
            if where == "feed" and np.isclose(pcm, 555 / 32768).any():
                raise AssertionError(PLANTED)
            super().feed(key, pcm)

    if where != "feed":
        monkeypatch.setattr(Session, where, planted(getattr(Session, where)))
    return Engine


@pytest.mark.parametrize("where", ["event", "segment_end", "feed", "tick", "abandon"])
@in_loop
async def test_the_connection_is_closed_with_1011_and_its_slot_freed(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = breaks_in(monkeypatch, where)
    limits = {"segment_timeout_s": 0.1 if where == "tick" else 10}
    async with (
        running(limits, engine=engine, holds=["asr"]) as server,
        server.talk(session_id="good", audio=RAW) as good,
        server.talk(session_id="bad-and-secret", audio=RAW, system="broken") as bad,
    ):
        await good.send(chunk(pcm_s16le(100)))
        await good.get()
        await bad.send(chunk(pcm_s16le(100, value=555)), END)
        if where == "event":
            await eventually(lambda: server.engine._turns[1] == 1)
            server.engine.emit(Transcript(1, 0, "lost", 4, is_final=True))
        if where == "abandon":
            await bad.socket.close()
        else:
            error = (await bad.until("error"))[-1]
            assert error["code"] == "internal"
            code, _ = await bad.close_code()
            assert code == 1011
        await eventually(lambda: server.engine.open_keys == [0])
        await good.send(END)
        await eventually(lambda: server.engine._turns[0] == 1)
        server.engine.emit(Transcript(0, 0, "kept", 4, is_final=True))
        assert (await good.until("segment_processed"))[-2]["transcription"] == "kept"
    logged = [record for record in caplog.records if record.exc_info]
    assert any("session 'bad-and-" in record.getMessage() for record in logged)
    assert "bad-and-secret" not in caplog.text


@in_loop
async def test_a_message_that_cannot_be_sent_closes_that_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from server import connection

    encode = connection.encode

    def broken(message: object) -> str:
        if getattr(message, "transcription", "") == "100 samples":
            raise TypeError(PLANTED)
        return encode(message)  # type: ignore[arg-type]

    monkeypatch.setattr(connection, "encode", broken)
    async with running() as server, server.talk(session_id="a", audio=RAW) as client:
        await client.send(chunk(pcm_s16le(100)), END)
        assert (await client.close_code())[0] == 1011
        await eventually(lambda: server.engine.open_keys == [])


@in_loop
async def test_a_session_that_failed_can_be_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = breaks_in(monkeypatch, "feed")
    async with running(engine=engine) as server:
        async with server.talk(session_id="x", audio=RAW) as client:
            await client.send(chunk(pcm_s16le(100)), END)
            await client.until("segment_processed")
            await client.send(chunk(pcm_s16le(100, value=555)))
            assert (await client.close_code())[0] == 1011
        async with server.talk(session_id="x", audio=RAW) as again:
            await again.send(chunk(pcm_s16le(200)), END)
            assert (await again.until("segment_processed"))[-2]["transcription"] == "200 samples"
            assert len(server.engine.requests[-1].messages) == 4  # with what was said before
