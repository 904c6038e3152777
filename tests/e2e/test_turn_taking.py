"""When a reply begins and ends, with the real models over a real socket."""

from __future__ import annotations

import asyncio
import re
import urllib.request

import pytest
from turns import RAW, WAIT_S, answer, of, send, silence, spoken, until

from server.client import Client, Message
from server.demo import QUESTION
from server.process import ServerProcess

pytestmark = pytest.mark.models


def metric(server: ServerProcess, name: str) -> float:
    text = urllib.request.urlopen(f"{server.url}/metrics").read().decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def grows(server: ServerProcess, name: str, before: float) -> None:
    async with asyncio.timeout(WAIT_S):
        while await asyncio.to_thread(metric, server, name) <= before:
            await asyncio.sleep(0.01)


def test_a_reply_begun_in_a_pause_is_the_reply(server: ServerProcess) -> None:
    hits = 'antiphon_early_replies_total{after="pause",outcome="hit"}'
    begun = 'antiphon_batch_size_count{stage="llm"}'
    before = metric(server, hits), metric(server, begun)

    async def conversation() -> list[Message]:
        async with await Client.connect(server.ws_url, events=["token"], audio=RAW) as client:
            await send(client, spoken(QUESTION) + silence(0.45))
            await grows(server, begun, before[1])  # the model speaks, and nobody hears it
            await client.end_segment()
            return await until(client, "segment_processed")

    messages = asyncio.run(conversation())
    reply = answer(messages)
    assert reply["transcription"] == "What is the capital of France?"
    assert "Paris" in reply["response"]
    assert reply["response"] == "".join(m["text"] for m in of(messages, "response_delta"))
    assert metric(server, hits) == before[0] + 1


def test_speech_over_a_reply_ends_it_and_is_answered(server: ServerProcess) -> None:
    async def conversation() -> list[Message]:
        options = {"endpointing": "server", "barge_in": True, "audio": RAW, "max_tokens": 128}
        options |= {"events": ["vad", "token"], "language": "en"}
        options["system"] = "Tell a very long story about the sea. Never stop."
        async with await Client.connect(server.ws_url, **options) as client:
            await send(client, spoken(QUESTION) + silence(1))
            messages = await until(client, "response_delta")
            await send(client, spoken(QUESTION) + silence(1))
            return messages + await until(client, "segment_processed", 2)

    messages = asyncio.run(conversation())
    first, second = of(messages, "chatbot_response")
    assert first["cancelled"] is True
    assert "cancelled" not in second
    assert first["response"]
    assert second["response"]
    assert first["transcription"] == second["transcription"] == "What is the capital of France?"
    kinds = [m["type"] for m in messages if m["type"] in ("speech_started", "chatbot_response")]
    assert kinds == ["speech_started", "speech_started", "chatbot_response", "chatbot_response"]
