"""What a person does and sees on the page. Skips its importers where Playwright is missing."""

from __future__ import annotations

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
