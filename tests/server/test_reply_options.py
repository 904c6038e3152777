"""What a session asks of its replies, over a real socket."""

from __future__ import annotations

from harness import END, RAW, chunk, in_loop, pcm_s16le, running

from engine.types import Sampling


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
