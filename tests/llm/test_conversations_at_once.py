"""Eight conversations at once with the real small model, over the lane that serves them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llm_fakes import PATIENCE_S, is_ending
from test_llm_lane import Ear

from engine.config import EngineSettings
from engine.llm.llamacpp import LlamaCpp
from engine.llm_lane import LlmLane
from engine.types import Failure, GenerateRequest, ResponseDelta
from server.conversations import Conversation

pytestmark = pytest.mark.models

SETTINGS = EngineSettings(llm_slots=8, llm_context_tokens=512, threads=2)
NAMES = ("Anna", "Boris", "Clara", "David", "Elena", "Frank", "Greta", "Henry")
MAX_TOKENS = 24


class Room:
    """Conversations whose turns go to one lane."""

    def __init__(self, model: Path) -> None:
        self.ear = Ear()
        self.lane = LlmLane(lambda wake: LlamaCpp(SETTINGS, model, wake), SETTINGS, self.ear)
        self.lane.begin()
        self.lane.wait_ready()
        self.conversations: dict[int, Conversation] = {}
        self.turns: dict[int, int] = {}

    def request(self, key: int, text: str, max_tokens: int = MAX_TOKENS) -> GenerateRequest:
        conversation = self.conversations.setdefault(key, Conversation(max_turns=32))
        messages = conversation.prompt(SETTINGS.system, text)
        return GenerateRequest(key, self.turns.get(key, 0), messages, max_tokens)

    def ask(self, texts: dict[int, str]) -> dict[int, str]:
        """One turn of each conversation, all at once; every reply enters its own history."""
        requests = [self.request(key, text) for key, text in texts.items()]
        for request in requests:
            self.lane.submit(request)
        replies = {}
        for request in requests:
            text, ending = self.reply(request)
            assert isinstance(ending, ResponseDelta), ending
            self.conversations[request.key].add(texts[request.key], text)
            self.turns[request.key] = request.turn_id + 1
            replies[request.key] = text
        return replies

    def reply(self, request: GenerateRequest) -> tuple[str, ResponseDelta | Failure]:
        def mine(events: list) -> list:
            at = request.key, request.turn_id
            return [event for event in events if (event.key, event.turn_id) == at]

        self.ear.wait_for(lambda events: any(is_ending(event) for event in mine(events)))
        *deltas, ending = mine(self.ear.events)
        return "".join(d.text for d in deltas) + getattr(ending, "text", ""), ending


@pytest.fixture(scope="module")
def room(smollm2: Path) -> Iterator[Room]:
    room = Room(smollm2)
    yield room
    room.lane.close()


def test_eight_conversations_each_know_their_own_history_and_no_other(room: Room) -> None:
    keys = range(8)
    first = room.ask({key: f"Hello, my name is {NAMES[key]}." for key in keys})
    second = room.ask(dict.fromkeys(keys, "Please say hello to me by my name."))
    for key in keys:
        assert NAMES[key] in second[key]
        said = {name for name in NAMES if name in first[key] + second[key]}
        assert said == {NAMES[key]}


def test_one_is_cancelled_in_its_prompt_one_in_its_reply_and_the_others_go_on(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int]] = []  # tokens of key 20's prompt: computed, and in all
    reads = threading.Event()
    hear = LlamaCpp._hear

    def watch(self: LlamaCpp, run: Any, raw: str) -> bool:
        progress = json.loads(raw).get("prompt_progress")
        if run.id == (20, 0) and progress and progress["processed"]:
            read.append((progress["processed"], progress["total"]))
            reads.set()
        return hear(self, run, raw)

    monkeypatch.setattr(LlamaCpp, "_hear", watch)
    others = {key: room.request(key, "What is the capital of France?") for key in (22, 23, 24)}
    reading = room.request(20, "word " * 400)
    speaking = room.request(21, "Count from one to one hundred.", max_tokens=200)
    for request in (speaking, *others.values()):
        room.lane.submit(request)
    room.ear.wait_for(lambda events: any(event.key == 21 for event in events))
    room.lane.submit(reading)
    assert reads.wait(PATIENCE_S)
    room.lane.cancel(20, 0)
    room.lane.cancel(21, 0)
    assert room.reply(reading) == ("", ResponseDelta(20, 0, "", "cancelled"))
    text, ending = room.reply(speaking)
    assert text
    assert ending.finish_reason == "cancelled"
    for request in others.values():
        assert "Paris" in room.reply(request)[0]
    room.turns[20] = 1
    room.ask({20: "Hello!"})  # begins when the library has let go of the first
    computed, whole = read[-1]
    assert computed < whole, "the rest of the prompt was not computed"


def test_a_conversation_outgrows_its_context_and_its_neighbours_keep_theirs(room: Room) -> None:
    room.ask({30: "Hello, my name is Anna.", 31: "Hello, my name is Boris."})
    for number in range(2):
        room.ask({30: f"Here is note {number}: " + "the sea is wide and deep. " * 30})
    replies = room.ask(dict.fromkeys((30, 31), "Please say hello to me by my name."))
    assert replies[30]
    assert "Anna" not in replies[30]  # that turn has left the prompt
    assert "Boris" in replies[31]
    too_long = room.request(32, "word " * 600)
    room.lane.submit(too_long)
    _, failure = room.reply(too_long)
    assert isinstance(failure, Failure)
    assert "its context holds 512" in failure.message


def test_an_early_reply_is_the_reply(room: Room) -> None:
    (plain,) = room.ask({40: "What is the capital of Italy?"}).values()
    request = room.request(41, "What is the capital of Italy?")
    room.lane.anticipate(request)
    room.lane.submit(request)
    assert room.reply(request)[0] == plain
    other = room.request(42, "What is the capital of Spain, please?")
    room.lane.anticipate(room.request(42, "What is the capital of Spain"))
    room.lane.submit(other)
    assert "Madrid" in room.reply(other)[0]
    room.lane.anticipate(room.request(43, "Never mind."))
    room.lane.forget(43)
    room.ask({44: "Hello!"})
    assert not [event for event in room.ear.events if event.key == 43]
