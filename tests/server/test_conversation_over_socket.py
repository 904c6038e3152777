"""The protocol over a real socket, with an engine that does what the test says."""

from __future__ import annotations

import asyncio
import base64

import pytest
from harness import (
    CANCEL,
    END,
    RAW,
    Body,
    Talker,
    chunk,
    cut,
    eventually,
    in_loop,
    pcm_s16le,
    running,
)

from engine.types import Failure, ResponseDelta, SessionOptions, Transcript
from server import session

PROCESSED = {"type": "segment_processed"}
RECEIVED = {"type": "chunk_received"}


def answer(transcription: str, response: str, **more: object) -> Body:
    return {
        "type": "chatbot_response",
        "transcription": transcription,
        "response": response,
        "backend_used": "fake-llm",
    } | more


@in_loop
async def test_the_default_client_gets_only_the_contract() -> None:
    async with running() as server, server.talk(session_id="a", audio=RAW) as client:
        assert client.ack == {"type": "session_ack", "session_id": "a"}
        await client.send(chunk(pcm_s16le(800)), chunk(b""), END)
        assert await client.many(4) == [
            RECEIVED,
            RECEIVED,
            answer("800 samples", "You said 800 samples."),
            PROCESSED,
        ]


@in_loop
async def test_every_event_that_was_asked_for_is_sent_in_order() -> None:
    events = ["vad", "partial", "transcript", "token", "timings"]
    async with running() as server, server.talk(audio=RAW, events=events) as client:
        await client.send(chunk(pcm_s16le(800)), END)
        bodies = await client.until("segment_processed")
        said = [body for body in bodies if body["type"] != "response_delta"]
        timings = said[-2].pop("timings")
        assert said == [
            RECEIVED,
            {"type": "partial_transcription", "turn": 0, "text": "so far", "stable_chars": 3},
            {"type": "speech_started", "turn": 0, "at_s": 0.5},
            {"type": "speech_stopped", "turn": 0, "at_s": 1.25},
            {"type": "transcription", "turn": 0, "text": "800 samples", "language": "en"},
            answer("800 samples", "You said 800 samples.", turn=0),
            {"type": "segment_processed", "turn": 0},
        ]
        pieces = [body["text"] for body in bodies if body["type"] == "response_delta"]
        assert "".join(pieces) == "You said 800 samples."
        assert list(timings) == ["asr", "first_token", "total"]
        assert 0 <= timings["asr"] <= timings["first_token"] <= timings["total"]


@in_loop
async def test_binary_frames_are_audio() -> None:
    async with running() as server, server.talk(audio=RAW) as client:
        await client.socket.send(pcm_s16le(700))
        await client.send(END)
        assert await client.many(3) == [
            RECEIVED,
            answer("700 samples", "You said 700 samples."),
            PROCESSED,
        ]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
@in_loop
async def test_base64_may_be_cut_anywhere(size: int) -> None:
    text = base64.b64encode(pcm_s16le(25)).decode()
    async with running() as server, server.talk(audio=RAW) as client:
        await client.send(*cut(text, size), END)
        bodies = await client.until("segment_processed")
        assert bodies[-2]["transcription"] == "25 samples"
        assert bodies[:-2] == [RECEIVED] * -(-len(text) // size)


@in_loop
async def test_silence_is_answered_without_words() -> None:
    async with running() as server, server.talk(audio=RAW) as client:
        await client.send(chunk(bytes(320)), END, END)
        for _ in range(2):
            body = (await client.until("segment_processed"))[-2]
            assert body == answer("", "", error="No speech was found in this segment.")
        assert server.engine.requests == []


@in_loop
async def test_undecodable_audio_is_an_error_and_the_segment_is_still_answered() -> None:
    async with running() as server, server.talk(events=["timings"]) as client:
        await client.socket.send(b"\x00garbage that is no audio at all" * 40)
        await client.send(END)
        received, error, response, processed = await client.many(4)
        assert (received["type"], error["code"]) == ("chunk_received", "audio_undecodable")
        assert response["error"] == f"The audio could not be decoded: {error['message']}"
        assert response["error_code"] == "audio_undecodable"
        assert processed["type"] == "segment_processed"


@in_loop
async def test_bad_base64_keeps_the_earlier_audio() -> None:
    async with running() as server, server.talk(audio=RAW) as client:
        bad = {"type": "audio_chunk", "data": "§§§§"}
        await client.send(chunk(pcm_s16le(300)), bad, END)
        bodies = await client.until("segment_processed")
        assert [body.get("code") for body in bodies].count("audio_undecodable") == 1
        assert bodies[-2] == answer("300 samples", "You said 300 samples.")


@in_loop
async def test_audio_before_the_session_is_refused() -> None:
    async with running() as server, server.connect() as socket:
        client = Talker(socket)
        for body in (chunk(b"ab"), END, CANCEL):
            await client.send(body)
            assert (await client.get())["code"] == "session_required"
        await client.send({"type": "session", "session_id": "later"})
        assert (await client.get())["type"] == "session_ack"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "bad_json"),
        ("", "bad_json"),
        ("[" * 100_000, "bad_json"),
        ('{"type": NaN}', "bad_json"),
        ("[]", "bad_message"),
        ("{}", "bad_message"),
        ('{"type": 1}', "bad_message"),
        ('{"type": "dance"}', "unknown_type"),
        ('{"type": "audio_chunk"}', "bad_message"),
        ('{"type": "audio_chunk", "data": 5}', "bad_message"),
        ('{"type": "session"}', "bad_message"),
    ],
)
@in_loop
async def test_malformed_messages_are_told_and_the_connection_stays_open(
    frame: str, code: str
) -> None:
    async with running() as server, server.talk(audio=RAW) as client:
        await client.socket.send(frame)
        error = await client.get()
        assert (error["type"], error["code"]) == ("error", code)
        await client.send(chunk(pcm_s16le(100)), END)
        assert (await client.until("segment_processed"))[-2]["transcription"] == "100 samples"


@in_loop
async def test_pipelined_segments_are_answered_in_order_with_their_history() -> None:
    async with (
        running(holds=["asr"]) as server,
        server.talk(audio=RAW, system="Be kind.") as client,
    ):
        for turn in range(3):
            await client.send(chunk(pcm_s16le(100 + turn)), END)
        await client.many(3)
        for turn in (2, 1, 0):  # recognised in the wrong order
            server.engine.emit(Transcript(0, turn, f"words {turn}", 0, is_final=True))
        bodies = await client.many(6)
        assert [body.get("transcription") for body in bodies[::2]] == [
            "words 0",
            "words 1",
            "words 2",
        ]
        assert bodies[1::2] == [PROCESSED] * 3
        assert [message.content for message in server.engine.requests[-1].messages] == [
            "Be kind.",
            "words 0",
            "You said words 0.",
            "words 1",
            "You said words 1.",
            "words 2",
        ]


@in_loop
async def test_the_reply_is_awaited_while_later_audio_arrives() -> None:
    async with running(holds=["llm"]) as server, server.talk(audio=RAW) as client:
        await client.send(chunk(pcm_s16le(100)), END, chunk(pcm_s16le(200)), END)
        assert await client.many(2) == [RECEIVED] * 2
        await eventually(lambda: server.engine.fed[0] == 300)
        assert len(server.engine.requests) == 1
        server.engine.reply(server.engine.requests[0])
        assert (await client.many(2))[0]["transcription"] == "100 samples"
        await eventually(lambda: len(server.engine.requests) == 2)
        server.engine.reply(server.engine.requests[1])
        assert (await client.many(2))[0]["transcription"] == "200 samples"


@in_loop
async def test_cancel_while_replying_gives_what_was_said() -> None:
    async with running(holds=["llm"]) as server, server.talk(audio=RAW) as client:
        await client.send(chunk(pcm_s16le(100)), END)
        await eventually(lambda: len(server.engine.requests) == 1)
        server.engine.emit(ResponseDelta(0, 0, "I was about"))
        await asyncio.sleep(0)
        await client.send(CANCEL, CANCEL)
        bodies = await client.many(3)
        assert bodies[1:] == [answer("100 samples", "I was about", cancelled=True), PROCESSED]
        assert server.engine.cancelled == [(0, 0)]
        server.engine.emit(ResponseDelta(0, 0, " to", finish_reason="cancelled"))  # too late
        await client.send(chunk(pcm_s16le(50)), END)
        await eventually(lambda: len(server.engine.requests) == 2)
        contents = [message.content for message in server.engine.requests[1].messages[1:]]
        assert contents == ["100 samples", "I was about", "50 samples"]


@in_loop
async def test_cancel_while_listening_and_with_nothing_to_cancel() -> None:
    async with running(holds=["asr"]) as server, server.talk(audio=RAW) as client:
        await client.send(CANCEL, chunk(pcm_s16le(100)), END, CANCEL)
        assert await client.many(3) == [RECEIVED, answer("", "", cancelled=True), PROCESSED]
        server.engine.emit(Transcript(0, 0, "too late", 0, is_final=True))
        await client.send(END)
        await eventually(lambda: server.engine._turns[0] == 2)
        server.engine.emit(Transcript(0, 1, "in time", 0, is_final=True))
        assert (await client.get())["transcription"] == "in time"


@in_loop
async def test_failures_are_told_in_the_answer() -> None:
    async with running(holds=["asr", "llm"]) as server, server.talk(audio=RAW) as client:
        await client.send(END, END)
        await eventually(lambda: server.engine._turns[0] == 2)
        server.engine.emit(Failure(0, 0, "asr_failed", "Whisper broke."))
        assert await client.many(2) == [answer("", "", error="Whisper broke."), PROCESSED]
        server.engine.emit(Transcript(0, 1, "hello", 0, is_final=True))
        server.engine.emit(ResponseDelta(0, 1, "Well"))
        server.engine.emit(Failure(0, 1, "llm_failed", "The model broke."))
        assert await client.many(2) == [
            answer("hello", "Well", error="The model broke."),
            PROCESSED,
        ]


@in_loop
async def test_a_full_reply_queue_is_told_in_the_answer() -> None:
    async with running(queue=0) as server, server.talk(audio=RAW) as client:
        await client.send(chunk(pcm_s16le(100)), END)
        assert (await client.many(3))[1] == answer(
            "100 samples", "", error="Too many replies are waiting."
        )


@in_loop
async def test_models_that_never_answer_time_out() -> None:
    limits = {"segment_timeout_s": 0.05, "llm_timeout_s": 0.05}
    async with running(limits, holds=["asr", "llm"]) as server, server.talk() as client:
        await client.send(END)
        body = (await client.many(2))[0]
        assert body == answer("", "", error="The transcript took longer than its limit.")
        await client.send(END)
        await eventually(lambda: server.engine._turns[0] == 2)
        with pytest.MonkeyPatch.context() as patch:  # this engine does not keep its own limit
            patch.setattr(session, "LLM_FAILSAFE_S", 0.05)
            server.engine.emit(Transcript(0, 1, "hello", 0, is_final=True))
            body = (await client.many(2))[0]
        assert body == answer("hello", "", error="The reply took longer than its limit.")
        assert server.engine.cancelled == [(0, 0), (0, 1)]


@in_loop
async def test_server_endpointing_makes_turns_by_itself() -> None:
    hearing = {"language": "de", "prompt": "Antiphon", "hotwords": ["Kowloon", "Bingen"]}
    options = {"endpointing": "server", "audio": RAW, "task": "translate", **hearing}
    async with running() as server, server.talk(**options) as client:
        assert server.engine.options[0] == SessionOptions(
            language="de",
            prompt="Antiphon",
            hotwords="Kowloon, Bingen",
            task="translate",
            endpointing="server",
        )
        await client.send(chunk(pcm_s16le(160)))
        await client.get()
        await eventually(lambda: server.engine.fed[0] == 160)
        server.engine.end_by_vad(0)
        assert await client.many(2) == [answer("160 samples", "You said 160 samples."), PROCESSED]
        await client.send(END)  # nothing was said since
        assert (await client.many(2))[0]["error"] == "No speech was found in this segment."


@in_loop
async def test_the_newer_connection_takes_over_and_keeps_the_history() -> None:
    async with running() as server, server.talk(session_id="x", audio=RAW) as old:
        await old.send(chunk(pcm_s16le(100)), END)
        await old.until("segment_processed")
        async with server.talk(session_id="x", audio=RAW) as new:
            code, reason = await old.close_code()
            assert code == 4001
            assert "taken over" in (reason or "")
            await new.send(chunk(pcm_s16le(200)), END)
            assert (await new.until("segment_processed"))[-2]["transcription"] == "200 samples"
            assert len(server.engine.requests[-1].messages) == 4
            assert len(server.engine.open_keys) == 1


@in_loop
async def test_a_session_that_comes_back_finds_its_history_even_of_a_reply_cut_off() -> None:
    async with running(holds=["llm"]) as server:
        async with server.talk(session_id="x", audio=RAW) as client:
            await client.send(chunk(pcm_s16le(100)), END)
            await eventually(lambda: len(server.engine.requests) == 1)
        await eventually(lambda: server.engine.open_keys == [])
        async with server.talk(session_id="x", audio=RAW) as client:
            await client.send(chunk(pcm_s16le(200)), END)
            await eventually(lambda: len(server.engine.requests) == 2)
            assert server.engine.requests[1].messages[-1].content == "100 samples\n200 samples"


@in_loop
async def test_a_session_may_be_reopened_with_other_options_but_not_in_mid_turn() -> None:
    async with running(holds=["llm"]) as server, server.talk(session_id="x", audio=RAW) as client:
        await client.send(chunk(pcm_s16le(100)), END, {"type": "session", "session_id": "x"})
        assert [body.get("code") for body in await client.many(2)] == [None, "busy"]
        server.engine.reply(server.engine.requests[0])
        await client.many(2)
        await client.send({"type": "session", "session_id": "x", "audio": RAW, "max_tokens": 7})
        assert (await client.get())["type"] == "session_ack"
        assert server.engine.open_keys == [1]
        await client.send(chunk(pcm_s16le(200)), END)
        await eventually(lambda: len(server.engine.requests) == 2)
        request = server.engine.requests[1]
        assert (request.key, request.turn_id, request.max_tokens) == (1, 0, 7)
        assert len(request.messages) == 4


@in_loop
async def test_sessions_get_their_own_words_only() -> None:
    async def one(server_index: int) -> None:
        async with server.talk(session_id=f"s{server_index}", audio=RAW) as client:
            for turn in range(3):
                samples = 1000 * server_index + turn + 1
                await client.send(chunk(pcm_s16le(samples)), END)
                body = (await client.until("segment_processed"))[-2]
                assert body["transcription"] == f"{samples} samples"

    async with running() as server:
        await asyncio.gather(*(one(index) for index in range(12)))
