"""Text is never lost, order is kept, and a slow reader costs a bounded number of messages."""

from __future__ import annotations

import asyncio

from harness import in_loop
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.messages import (
    ChunkReceived,
    PartialTranscription,
    ResponsePiece,
    ServerMessage,
    Transcription,
)
from server.outbox import Outbox

kinds = st.sampled_from(["piece", "partial", "chunk", "get"])


async def drain(outbox: Outbox) -> list[ServerMessage]:
    outbox.close()
    taken = []
    while (item := await outbox.get()) is not None:
        taken.append(item[0])
    return taken


@in_loop
async def test_pieces_are_joined_and_partials_replaced_while_they_wait() -> None:
    outbox = Outbox(8)
    for message in (
        PartialTranscription(0, "he", 0),
        ResponsePiece(0, "Hel"),
        ChunkReceived(),
        PartialTranscription(0, "hello", 2),
        ResponsePiece(0, "lo"),
        ResponsePiece(1, "Next"),
    ):
        outbox.put(message, 0.0)
    assert await drain(outbox) == [
        ResponsePiece(0, "Hello"),
        ChunkReceived(),
        PartialTranscription(0, "hello", 2),
        ResponsePiece(1, "Next"),
    ]


@in_loop
async def test_full_is_told_and_nothing_is_dropped() -> None:
    outbox = Outbox(2)
    for turn in range(3):
        outbox.put(Transcription(turn, "words"), 0.0)
    assert outbox.full
    assert len(await drain(outbox)) == 3


@in_loop
async def test_a_waiting_reader_gets_what_comes_and_learns_of_the_end() -> None:
    outbox = Outbox(2)
    reader = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    outbox.put(ChunkReceived(), 3.0)
    assert await reader == (ChunkReceived(), 3.0)
    reader = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    outbox.close()
    assert await reader is None
    outbox.put(ChunkReceived(), 4.0)
    assert len(outbox) == 0


@given(st.lists(st.tuples(kinds, st.integers(0, 2)), max_size=60))
@hypothesis_settings(max_examples=100, deadline=None, database=None)
def test_pieces_joined_are_the_reply(script: list[tuple[str, int]]) -> None:
    async def body() -> None:
        outbox, put, taken = Outbox(4), {0: "", 1: "", 2: ""}, []
        newest: dict[int, str] = {}
        for step, (kind, turn) in enumerate(script):
            if kind == "piece":
                put[turn] += f"{step} "
                outbox.put(ResponsePiece(turn, f"{step} "), 0.0)
            elif kind == "partial":
                newest[turn] = str(step)
                outbox.put(PartialTranscription(turn, str(step), 0), 0.0)
            elif kind == "chunk":
                outbox.put(ChunkReceived(), 0.0)
            elif len(outbox):
                item = await outbox.get()
                assert item is not None
                taken.append(item[0])
        taken += await drain(outbox)
        for turn, text in put.items():
            pieces = [m.text for m in taken if isinstance(m, ResponsePiece) and m.turn == turn]
            assert "".join(pieces) == text
        for turn, text in newest.items():
            partials = [m for m in taken if isinstance(m, PartialTranscription) and m.turn == turn]
            assert partials[-1].text == text
        received = sum(isinstance(message, ChunkReceived) for message in taken)
        assert received == sum(kind == "chunk" for kind, _ in script)

    asyncio.run(body())
