"""What a session asks of its replies, over a real socket."""

from __future__ import annotations

from fake_engine import FakeEngine
from harness import CANCEL, END, RAW, chunk, eventually, in_loop, pcm_s16le, running

from engine.types import Assumed, GenerateRequest, ResponseDelta, Sampling, SpeechStarted


@in_loop
async def test_sampling_is_the_sessions_own_or_the_servers() -> None:
    defaults = {"llm_temperature": 0.25, "llm_top_p": 0.75, "max_temperature": 1}
    asked = {"temperature": 0, "top_p": 0.5, "stop": ["\n"], "seed": 0, "max_tokens": 5}
    async with running(defaults) as server:
        for more in ({}, asked, {"temperature": 2}):
            async with server.talk(audio=RAW, session_id=str(more), **more) as client:
                await client.send(chunk(pcm_s16le(800)), END)
                await client.until("segment_processed")
        plain, own, hot = server.engine.requests
    assert plain.sampling == Sampling(0.25, 0.75)
    assert own.sampling == Sampling(0.0, 0.5, ("\n",), 0)
    assert own.max_tokens == 5
    assert hot.sampling.temperature == 1


class Talkative(FakeEngine):
    def pieces(self, request: GenerateRequest) -> list[str]:
        return ["Dr", ". Fo", "x is out", ". Come", " at 3.30!", " ", "Or tomorrow"]


@in_loop
async def test_a_reply_comes_by_sentences() -> None:
    by_sentence = {"audio": RAW, "events": ["sentence"]}
    async with running(engine=Talkative) as server, server.talk(**by_sentence) as client:
        await client.send(chunk(pcm_s16le(800)), END)
        bodies = await client.until("segment_processed")
    sentences = [body for body in bodies if body["type"] == "response_sentence"]
    assert [(body["turn"], body["index"], body["text"]) for body in sentences] == [
        (0, 0, "Dr. Fox is out."),
        (0, 1, " Come at 3.30!"),
        (0, 2, " Or tomorrow"),
    ]
    assert bodies[-2]["response"] == "".join(body["text"] for body in sentences)


@in_loop
async def test_a_sentence_does_not_wait_for_the_whole_reply() -> None:
    by_sentence = {"audio": RAW, "events": ["sentence"]}
    async with running(holds=["llm"]) as server, server.talk(**by_sentence) as client:
        await client.send(chunk(pcm_s16le(800)), END)
        assert (await client.get())["type"] == "chunk_received"
        await eventually(lambda: bool(server.engine.requests))
        server.engine.emit(ResponseDelta(0, 0, "One. Two"))
        assert (await client.get())["text"] == "One."
        await client.send(CANCEL)
        rest, answer = await client.many(2)
    assert rest == {"type": "response_sentence", "turn": 0, "index": 1, "text": " Two"}
    assert answer["response"] == "One. Two"


@in_loop
async def test_what_is_assumed_in_a_pause_is_anticipated_and_asked_for() -> None:
    async with running() as server, server.talk(audio=RAW) as client:
        engine = server.engine
        await client.send(chunk(pcm_s16le(800)))
        engine.emit(Assumed(0, 0, "80"), Assumed(0, 0, ""), Assumed(0, 0, "800 samples"))
        await client.send(END)
        await client.until("segment_processed")
    assert engine.withdrawn == [(0, 0)]
    assert [request.messages[-1].content for request in engine.anticipated] == ["80", "800 samples"]
    assert engine.requests == engine.anticipated[1:]


@in_loop
async def test_speech_over_a_reply_ends_it_and_what_was_said_is_remembered() -> None:
    hands_free = {"audio": RAW, "endpointing": "server", "barge_in": True}
    async with running(holds=["llm"]) as server, server.talk(**hands_free) as client:
        engine = server.engine
        await client.send(chunk(pcm_s16le(800)))
        await eventually(lambda: bool(engine.fed[0]))
        engine.end_by_vad(0)
        await eventually(lambda: bool(engine.requests))
        engine.emit(ResponseDelta(0, 0, "You said"))
        engine.emit(SpeechStarted(0, 1, 1.0), ResponseDelta(0, 0, " nothing."))
        answer = (await client.until("segment_processed"))[-2]
        assert (answer["response"], answer["cancelled"]) == ("You said", True)
        assert engine.cancelled == [(0, 0)]
        await client.send(chunk(pcm_s16le(400)))
        await eventually(lambda: engine.fed[0] == 1200)
        engine.end_by_vad(0)
        await eventually(lambda: len(engine.requests) == 2)
    contents = [message.content for message in engine.requests[1].messages]
    assert contents[1:] == ["800 samples", "You said", "400 samples"]
