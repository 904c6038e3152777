"""What a person does and sees on the page. Skips its importers where Playwright is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.process import ServerProcess

_MISSING = "the dev extra is not installed"
expect = pytest.importorskip("playwright.sync_api", reason=_MISSING).expect
_axe = pytest.importorskip("axe_core_python.sync_playwright", reason=_MISSING).Axe()

OpenPage = Callable[..., Any]
StartServer = Callable[..., ServerProcess]
DENY = "--use-fake-ui-for-media-stream=deny"
CONNECT_MS = 30_000
ANSWER_MS = 60_000
HEARD = "What is the capital of France?"


def wait_connected(page: Any) -> None:
    expect(page.locator("#connection")).to_have_text("Connected", timeout=CONNECT_MS)


def wait_words(page: Any) -> None:
    """Words appear while the microphone is still on."""
    expect(page.locator(".listening .call .words")).to_contain_text("capital", timeout=ANSWER_MS)


def wait_silence(page: Any) -> None:
    """The voice activity detector has heard the question end."""
    expect(page.locator("#hearing")).to_have_text("Listening", timeout=ANSWER_MS)


def wait_answered(page: Any, turns: int = 1) -> Any:
    """The last of so many turns, its reply complete."""
    row = page.locator(".turn").nth(turns - 1)
    expect(row.locator(".response .timing")).to_contain_text("whole reply", timeout=ANSWER_MS)
    return row


def expect_question_and_answer(row: Any) -> None:
    expect(row.locator(".call .words")).to_have_text(HEARD)
    expect(row.locator(".response .words")).to_contain_text("Paris")


def choose_hands_free(page: Any) -> None:
    page.get_by_text("Hands-free").click()


def keep(page: Any, artifacts: Path, name: str) -> None:
    page.screenshot(path=str(artifacts / f"{name}.png"))


def violations(page: Any) -> list[str]:
    """What axe-core finds wrong with the page's accessibility."""
    found = _axe.run(page)["violations"]
    return [f"{item['id']}: {node['html']}" for item in found for node in item["nodes"]]


class Script:
    """Plays the server on the page's socket; ``answers`` follow each ``segment_end``."""

    def __init__(self, answers: list[dict[str, Any]]) -> None:
        self.answers = answers
        self.received: list[dict[str, Any]] = []
        self.socket: Any = None

    def __call__(self, page: Any) -> None:
        page.route_web_socket("**/ws/audio*", self._connected)

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def _connected(self, socket: Any) -> None:
        self.socket = socket
        socket.on_message(self._take)

    def _take(self, data: str | bytes) -> None:
        if isinstance(data, bytes):
            self.say(type="chunk_received")
            return
        message = json.loads(data)
        self.received.append(message)
        if message["type"] == "session":
            self.say(type="session_ack", session_id=message["session_id"])
        if message["type"] == "segment_end":
            for answer in self.answers:
                self.say(**answer)


def answer(transcription: str, response: str, turn: int = 0, **more: Any) -> list[dict[str, Any]]:
    timings = {"asr": 210.0, "first_token": 320.0, "total": 900.0}
    return [
        {"type": "transcription", "turn": turn, "text": transcription},
        {"type": "response_delta", "turn": turn, "text": response},
        {
            "type": "chatbot_response",
            "turn": turn,
            "transcription": transcription,
            "response": response,
            "backend_used": "scripted",
            "timings": timings,
            **more,
        },
        {"type": "segment_processed", "turn": turn},
    ]


def tap_twice(page: Any) -> None:
    """Begin a turn and end it, as a screen reader does: by clicks."""
    page.locator("#talk").dispatch_event("click")
    expect(page.locator("#hearing")).to_have_text("Listening")
    page.locator("#talk").dispatch_event("click")
