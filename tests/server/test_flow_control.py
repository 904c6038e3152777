"""What holds a client back that is too fast, too slow, too large or one too many."""

from __future__ import annotations

import asyncio

import pytest
from harness import END, RAW, Talker, chunk, eventually, in_loop, pcm_s16le, running
from websockets.exceptions import ConnectionClosedError

from engine.types import AudioConsumed, ResponseDelta, Transcript
from server.media.stream import MAX_PIECE_S


@in_loop
async def test_a_full_server_refuses_with_a_retry_hint() -> None:
    full = running(capacity=1)
    async with full as server, server.talk(session_id="a"), server.connect() as socket:
        client = Talker(socket)
        await client.send({"type": "session", "session_id": "b"})
        error = await client.get()
        assert (error["code"], error["retry_after_ms"]) == ("overloaded", 1500)
        assert (await client.close_code())[0] == 1013


@in_loop
async def test_a_message_that_is_too_long_closes_with_the_limit_named() -> None:
    async with running({"max_message_bytes": 2048}) as server, server.talk() as client:
        await client.socket.send(bytes(2049))
        code, reason = await client.close_code()
        assert code == 1009
        assert "2048" in (reason or "")
        await eventually(lambda: server.engine.open_keys == [])


@in_loop
async def test_audio_ahead_of_the_engine_is_held_back_until_it_is_consumed() -> None:
    limits = {"max_buffered_s": 5, "receive_queue": 1}
    second = chunk(pcm_s16le(16_000))
    async with running(limits, holds=["audio"]) as server, server.talk(audio=RAW) as client:
        await client.send(*[second] * 12)
        await client.many(6)
        await eventually(lambda: server.engine.fed[0] == 6 * 16_000)  # the sixth was one too many
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get(), 0.05)
        server.engine.emit(AudioConsumed(0, 6 * 16_000))
        await client.many(6)
        await eventually(lambda: server.engine.fed[0] == 12 * 16_000)


@in_loop
async def test_one_message_of_much_audio_is_held_back_as_well() -> None:
    limits = {"max_buffered_s": 5}
    tenth = {"format": "pcm_s16le", "sample_rate": 8_000}
    async with running(limits, holds=["audio"]) as server, server.talk(audio=tenth) as client:
        await client.socket.send(pcm_s16le(600 * 8_000 // 4))  # 150 s in one frame
        await client.send(END)
        await client.get()
        engine, taken = server.engine, 0
        while taken < 150 * 16_000 - 100:
            await eventually(lambda taken=taken: engine.fed[0] > taken)
            await asyncio.sleep(0.05)
            assert engine.fed[0] - taken <= (5 + MAX_PIECE_S) * 16_000
            given_back, taken = engine.fed[0] - taken, engine.fed[0]
            engine.emit(AudioConsumed(0, given_back))
        answer = (await client.until("segment_processed"))[-2]
        assert answer["transcription"] == f"{taken} samples"


@in_loop
async def test_unanswered_segments_are_bounded() -> None:
    limits = {"max_pending_turns": 2, "receive_queue": 1}
    async with running(limits, holds=["asr"]) as server, server.talk(audio=RAW) as client:
        await client.send(*[END] * 5)
        await eventually(lambda: server.engine._turns[0] == 2)
        server.engine.emit(Transcript(0, 0, "", 0, is_final=True))
        await client.many(2)
        await eventually(lambda: server.engine._turns[0] == 3)
        for turn in range(1, 5):
            await eventually(lambda turn=turn: server.engine._turns[0] > turn)
            server.engine.emit(Transcript(0, turn, "", 0, is_final=True))
            await client.many(2)


@in_loop
async def test_a_client_that_stops_reading_is_dropped() -> None:
    limits = {
        "stall_timeout_s": 0.2,
        "write_buffer_bytes": 1024,
        "outbox_messages": 8,
        "receive_queue": 1,
    }
    async with running(limits, holds=["llm"]) as server:
        async with server.talk(audio=RAW, events=["token"], session_id="slow") as client:
            client.socket.transport.pause_reading()
            await client.send(chunk(pcm_s16le(100)), END)
            await eventually(lambda: len(server.engine.requests) == 1)
            while server.engine.open_keys:
                server.engine.emit(ResponseDelta(0, 0, "x" * 100_000))
                await asyncio.sleep(0.01)
            client.socket.transport.resume_reading()
            with pytest.raises(ConnectionClosedError):  # cut off: a close frame cannot get through
                await client.until("never")
        async with server.talk(session_id="slow"):
            pass
