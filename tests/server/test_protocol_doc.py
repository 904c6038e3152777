"""Every example of docs/PROTOCOL.md is sent to a real server, and its answers are compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from fake_engine import FakeEngine
from harness import Talker, in_loop, running

from engine.types import GenerateRequest, Pcm, ResponseDelta
from server.messages import ServerMessage
from server.protocol import _PARSERS

DOC = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text()
BLOCK = re.compile(r"```json (client|server)\n(.*?)```", re.DOTALL)
TIMES = ("at_s", "timings")


class DocumentedEngine(FakeEngine):
    llm_name = "llamacpp/SmolLM2-135M-Instruct.Q4_1"
    partial = ("What is anti", 8)

    def words(self, pcm: Pcm) -> str:
        return "What is antiphony?"

    def pieces(self, request: GenerateRequest) -> list[str]:
        return ["Call and response", " between many voices."]


class SlowEngine(DocumentedEngine):
    def reply(self, request: GenerateRequest) -> None:
        self.emit(ResponseDelta(request.key, request.turn_id, self.pieces(request)[0]))


ENGINES: dict[str, tuple[type[FakeEngine], dict[str, Any]]] = {
    "": (DocumentedEngine, {}),
    "slow": (SlowEngine, {}),
    "full": (DocumentedEngine, {"capacity": 0}),
}


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.*)\n", DOC, flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {title: text for title, text in pairs if BLOCK.search(text)}


def messages(block: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in block.splitlines()]


def joined(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pieces of a reply that wait together are sent as one."""
    result: list[dict[str, Any]] = []
    for body in bodies:
        if result and body["type"] == result[-1]["type"] == "response_delta":
            body = body | {"text": result.pop()["text"] + body["text"]}
        result.append(body)
    return result


async def get_like(client: Talker, expected: dict[str, Any]) -> dict[str, Any]:
    body = await client.get()
    if body["type"] == expected["type"] == "response_delta":
        while len(body["text"]) < len(expected["text"]):
            body["text"] += (await client.get())["text"]
    return body


def without_times(body: dict[str, Any]) -> dict[str, Any]:
    return {
        name: sorted(value) if isinstance(value, dict) else type(value) if name in TIMES else value
        for name, value in body.items()
    }


@pytest.mark.parametrize("title", sections())
@in_loop
async def test_examples_are_true(title: str) -> None:
    text = sections()[title]
    named = re.search(r"<!-- engine: (\w+) -->", text)
    engine, options = ENGINES[named[1] if named else ""]
    async with running(engine=engine, **options) as server, server.connect() as socket:
        client = Talker(socket)
        for side, block in BLOCK.findall(text):
            for body in joined(messages(block)):
                if side == "client":
                    await client.send(body)
                else:
                    assert without_times(await get_like(client, body)) == without_times(body)


def test_every_message_has_an_example() -> None:
    shown: dict[str, set[str]] = {"client": set(), "server": set()}
    for side, block in BLOCK.findall(DOC):
        shown[side].update(body["type"] for body in messages(block))
    assert shown["client"] == {*_PARSERS, "dance"}
    assert shown["server"] == {message.type for message in get_args(ServerMessage)}
