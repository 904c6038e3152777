"""What was chosen on the page outlives a reload: mode, language and microphone, and no token."""

from __future__ import annotations

import pytest
from page_actions import (
    OpenPage,
    Script,
    answer,
    choose_hands_free,
    expect,
    tap_twice,
    wait_connected,
)

from server.process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.models]

ASKED_FOR = """
const getUserMedia = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (wanted) => {
  window.microphoneAskedFor = wanted.audio.deviceId?.exact ?? "";
  return getUserMedia(wanted);
};
"""


def test_choices_outlive_a_reload(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str
) -> None:
    script = Script(answer("Hi.", "Hello."))
    page = open_page(
        f"{echo_server.url}/#token=t0ken",
        question_once,
        prepare=lambda page: (script(page), page.add_init_script(ASKED_FOR)),
    )
    wait_connected(page)
    tap_twice(page)
    expect(page.locator(".response .words")).to_have_text("Hello.")
    device = page.locator("#device")
    device.select_option(label="Fake Audio Input 2")
    chosen = device.input_value()
    page.get_by_label("Language").select_option("de")
    choose_hands_free(page)
    page.reload()
    wait_connected(page)
    expect(page.get_by_label("Hands-free")).to_be_checked()
    expect(page.get_by_label("Language")).to_have_value("de")
    expect(device).to_have_value(chosen)
    expect(page.locator("#talk-hint")).to_contain_text("Press once")
    opened = [message for message in script.received if message["type"] == "session"]
    assert (opened[-1]["endpointing"], opened[-1]["language"]) == ("server", "de")
    page.locator("#talk").dispatch_event("click")
    expect(page.locator("#hearing")).to_have_text("Listening")
    assert page.evaluate("microphoneAskedFor") == chosen
    assert "t0ken" not in page.evaluate("JSON.stringify(localStorage)")


STORED = "localStorage.setItem('antiphon.choices', {!r})"
STRANGE = [
    STORED.format('{"mode": "x", "language": "klingon", "device": {"id": "gone", "label": "Old"}}'),
    STORED.format("[1, null"),
    STORED.format("7"),
    "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no'); } })",
]


@pytest.mark.parametrize("strange", STRANGE)
def test_a_page_that_remembers_nonsense_or_nothing_begins_as_new(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str, strange: str
) -> None:
    script = Script(answer("Hi.", "Hello."))
    page = open_page(
        echo_server.url,
        question_once,
        prepare=lambda page: (script(page), page.add_init_script(strange)),
    )
    wait_connected(page)
    expect(page.get_by_label("Push to talk")).to_be_checked()
    expect(page.get_by_label("Language")).to_have_value("")
    tap_twice(page)
    expect(page.locator(".response .words")).to_have_text("Hello.")
    expect(page.locator("#device")).to_have_value("")
    page.get_by_label("Language").select_option("fr")
    expect(page.get_by_role("alert")).to_be_hidden()
    assert script.received[-1]["language"] == "fr"
