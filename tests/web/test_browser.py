"""A real browser talks to the real server with the real models, by MediaRecorder and Opus."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from page_actions import (
    ANSWER_MS,
    CONNECT_MS,
    HEARD,
    OpenPage,
    StartServer,
    choose_hands_free,
    expect,
    expect_question_and_answer,
    keep,
    wait_answered,
    wait_connected,
    wait_silence,
    wait_words,
)

from server.client import Client
from server.process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.models]


def test_push_to_talk(
    server: ServerProcess, open_page: OpenPage, question_once: str, artifacts: Path
) -> None:
    page = open_page(server.url, question_once)
    wait_connected(page)
    keep(page, artifacts, "idle")
    talk = page.get_by_role("button", name="Talk")
    talk.hover()
    page.mouse.down()
    wait_words(page)
    keep(page, artifacts, "speaking")
    wait_silence(page)
    page.mouse.up()
    expect_question_and_answer(wait_answered(page))
    expect(page.locator("#latency rect.answer")).to_have_count(1)
    expect(page.locator("#latency-words")).to_contain_text("first token after")
    expect(page.locator("#chunk")).to_contain_text("ms")
    expect(page.locator("#backend")).to_contain_text("llamacpp")
    expect(page.locator("#sessions")).to_have_text("1", timeout=CONNECT_MS)
    expect(page.locator("#batch")).to_have_text("1", timeout=CONNECT_MS)
    expect(page.locator("#announcer")).to_contain_text(f"You: {HEARD}")
    keep(page, artifacts, "answered")


def test_hands_free_over_many_turns(
    server: ServerProcess, open_page: OpenPage, question_again: str, artifacts: Path
) -> None:
    """One recording runs on over the turns; pauses end them; only one button was pressed."""
    page = open_page(server.url, question_again)
    wait_connected(page)
    choose_hands_free(page)
    page.get_by_role("button", name="Turn the microphone on").click()
    wait_words(page)
    keep(page, artifacts, "hands-free")
    for turn in (1, 2):
        expect(page.locator(".turn .call .words").nth(turn - 1)).to_have_text(
            HEARD, timeout=ANSWER_MS
        )
    expect(page.locator(".turn .response .words").first).to_contain_text("Paris")
    page.get_by_role("button", name="Turn the microphone off").click()
    expect(page.locator(".listening, .awaiting")).to_have_count(0, timeout=ANSWER_MS)


def test_speaking_over_the_reply_stops_it(
    start_server: StartServer, open_page: OpenPage, question_again: str, artifacts: Path
) -> None:
    system = "Explain at great length, with many details."
    server = start_server("--system", system, "--llm-max-tokens", "512")
    page = open_page(server.url, question_again)
    wait_connected(page)
    choose_hands_free(page)
    page.get_by_role("button", name="Turn the microphone on").click()
    expect(page.locator(".turn.cancelled").first).to_be_visible(timeout=ANSWER_MS)
    first = page.locator(".turn").first
    expect(first.locator(".call .words")).to_have_text(HEARD)
    expect(first.locator(".response .timing")).to_contain_text("stopped")
    keep(page, artifacts, "barge-in")


def test_server_restarts_in_mid_sentence(
    start_server: StartServer,
    open_page: OpenPage,
    question_once: str,
    free_port: int,
    artifacts: Path,
) -> None:
    """The page keeps what is being said, reconnects by itself, and gets it answered."""
    server = start_server("--port", str(free_port))
    page = open_page(server.url, question_once, may_complain=True)
    wait_connected(page)
    page.locator("#talk").hover()
    page.mouse.down()
    wait_words(page)
    server.stop()
    expect(page.get_by_role("alert")).to_contain_text("connection dropped", timeout=CONNECT_MS)
    expect(page.locator("#hearing")).to_contain_text("Keeping your words")
    keep(page, artifacts, "dropped")
    start_server("--port", str(free_port))
    wait_connected(page)
    expect(page.get_by_role("alert")).to_be_hidden()
    wait_silence(page)
    page.mouse.up()
    expect_question_and_answer(wait_answered(page))
    keep(page, artifacts, "reconnected")


def test_server_restarts_while_hands_free(
    start_server: StartServer, open_page: OpenPage, question_again: str, free_port: int
) -> None:
    server = start_server("--port", str(free_port))
    page = open_page(server.url, question_again, may_complain=True)
    wait_connected(page)
    choose_hands_free(page)
    page.get_by_role("button", name="Turn the microphone on").click()
    wait_words(page)
    server.stop()
    expect(page.get_by_role("alert")).to_contain_text("connection dropped", timeout=CONNECT_MS)
    start_server("--port", str(free_port))
    wait_connected(page)
    answered = page.locator(".turn", has_text="Paris")
    expect(answered.first.locator(".call .words")).to_have_text(HEARD, timeout=ANSWER_MS)


def test_full_server_then_room(
    start_server: StartServer, open_page: OpenPage, question_once: str, artifacts: Path
) -> None:
    server = start_server("--max-sessions", "1", "--asr-model", "tiny.en", "--llm", "echo")
    with occupying(server.ws_url):
        page = open_page(server.url, question_once)
        expect(page.get_by_role("alert")).to_contain_text("The server is full")
        expect(page.locator("#connection")).to_contain_text("Full")
        keep(page, artifacts, "full")
    wait_connected(page)
    expect(page.get_by_role("alert")).to_be_hidden()


@contextmanager
def occupying(url: str) -> Iterator[None]:
    """Somebody else's session, in a thread because Playwright owns this one's event loop."""
    taken, leave = threading.Event(), threading.Event()

    async def occupy() -> None:
        async with await Client.connect(url):
            taken.set()
            await asyncio.to_thread(leave.wait)

    thread = threading.Thread(target=asyncio.run, args=(occupy(),))
    thread.start()
    try:
        assert taken.wait(20)
        yield
    finally:
        leave.set()
        thread.join(20)


def test_keyboard_alone(
    server: ServerProcess, open_page: OpenPage, question_once: str, artifacts: Path
) -> None:
    page = open_page(server.url, question_once)
    wait_connected(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the talk button")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.down(" ")
    wait_words(page)
    keep(page, artifacts, "keyboard")
    wait_silence(page)
    page.keyboard.up(" ")
    expect_question_and_answer(wait_answered(page))
    expect(page.locator("#talk")).to_have_attribute("aria-pressed", "false")
