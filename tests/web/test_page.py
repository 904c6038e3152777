"""The page in every state that needs no speech model: scripted answers, real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_actions import (
    DENY,
    OpenPage,
    Script,
    StartServer,
    answer,
    choose_hands_free,
    expect,
    keep,
    tap_twice,
    violations,
    wait_connected,
)

from server.process import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.models]

HOSTILE = '<img src=x onerror="document.title=1"><b>bold</b>'


def test_text_is_inserted_as_text(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str
) -> None:
    script = Script(answer(HOSTILE, HOSTILE))
    page = open_page(echo_server.url, question_once, prepare=script)
    wait_connected(page)
    tap_twice(page)
    expect(page.locator(".call .words")).to_have_text(HOSTILE)
    expect(page.locator(".response .words")).to_have_text(HOSTILE)
    expect(page.locator(".turn img, .turn b, #announcer img, #announcer b")).to_have_count(0)
    assert page.title() == "Antiphon"


def test_settled_words_are_told_from_moving_ones(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str
) -> None:
    script = Script([])
    page = open_page(echo_server.url, question_once, prepare=script)
    wait_connected(page)
    page.locator("#talk").dispatch_event("click")
    script.say(type="partial_transcription", turn=0, text="𝄞 so it goes", stable_chars=4)
    expect(page.locator(".settled")).to_have_text("𝄞 so ")
    expect(page.locator(".moving")).to_have_text("it goes")
    settled, moving = page.locator(".settled"), page.locator(".moving")
    style = "element => getComputedStyle(element).fontStyle"
    assert (settled.evaluate(style), moving.evaluate(style)) == ("normal", "italic")


def test_nothing_heard_and_failed_turns_say_so(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str, artifacts: Path
) -> None:
    silent = answer("", "", error="No speech was found.", error_code="no_speech")
    failed = answer("Hello.", "", turn=1, error="The reply took too long.", error_code="timeout")
    script = Script(silent[2:])
    page = open_page(echo_server.url, question_once, prepare=script)
    wait_connected(page)
    tap_twice(page)
    expect(page.locator(".response .words")).to_have_text("Nothing was heard.")
    script.answers = failed
    tap_twice(page)
    expect(page.locator(".response .words").nth(1)).to_contain_text("The reply took too long.")
    expect(page.locator("#latency rect")).to_have_count(0)
    expect(page.locator(".response .timing").first).to_be_empty()
    keep(page, artifacts, "failed-turns")


def test_hands_free_a_cough_leaves_no_trace(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str
) -> None:
    script = Script([])
    page = open_page(echo_server.url, question_once, prepare=script)
    wait_connected(page)
    choose_hands_free(page)
    page.locator("#talk").dispatch_event("click")
    expect(page.locator("#hearing")).to_have_text("Listening")
    script.say(type="partial_transcription", turn=0, text="Hm", stable_chars=0)
    expect(page.locator(".turn")).to_have_count(1)
    nothing = answer("", "", error="No speech was found.", error_code="no_speech")[2]
    script.say(**nothing)
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator("#invitation")).to_be_visible()


def test_escape_stops_the_reply(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str, artifacts: Path
) -> None:
    script = Script(answer("Tell me a story.", "Once upon a time")[:2])
    page = open_page(echo_server.url, question_once, prepare=script)
    wait_connected(page)
    tap_twice(page)
    stop = page.get_by_role("button", name="Stop the reply")
    expect(stop).to_be_visible()
    keep(page, artifacts, "answering")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    for message in answer("Tell me a story.", "Once upon a time", cancelled=True)[2:]:
        script.say(**message)
    expect(stop).to_be_hidden()
    expect(page.locator(".response .timing")).to_contain_text("stopped")
    cancels = [message for message in script.received if message["type"] == "cancel"]
    assert cancels == [{"type": "cancel", "turn": 0}]


def test_a_connection_closed_for_silence_comes_back_when_somebody_talks(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str
) -> None:
    script = Script(answer("Hello", "Hello to you"))
    page = open_page(echo_server.url, question_once, prepare=script)
    wait_connected(page)
    script.say(type="error", code="idle", message="Nothing was sent for 600 s.")
    script.socket.close(code=4002, reason="Nothing was sent for 600 s.")
    expect(page.locator("#notice")).to_contain_text("Press the button")
    page.wait_for_timeout(1500)  # a dropped connection would be tried again by now
    assert [message["type"] for message in script.received] == ["session"]
    tap_twice(page)
    expect(page.locator(".response .words")).to_have_text("Hello to you")
    wait_connected(page)
    expect(page.locator("#notice")).to_be_hidden()
    sessions = [message for message in script.received if message["type"] == "session"]
    assert len(sessions) == 2
    assert len({message["session_id"] for message in sessions}) == 1


def test_options_reach_the_session(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str
) -> None:
    script = Script([])
    page = open_page(echo_server.url, question_once, prepare=script)
    wait_connected(page)
    page.get_by_label("Language").select_option("de")
    choose_hands_free(page)
    expect(page.locator("#talk-hint")).to_contain_text("Press once")
    opened = [message for message in script.received if message["type"] == "session"]
    assert [message["endpointing"] for message in opened] == ["client", "client", "server"]
    assert opened[-1]["language"] == "de"
    assert len({message["session_id"] for message in opened}) == 1


def test_a_change_that_comes_too_early_is_made_later(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str
) -> None:
    script = Script(answer("Hi.", "Hello")[:2])
    page = open_page(echo_server.url, question_once, prepare=script)
    wait_connected(page)
    tap_twice(page)
    expect(page.locator(".response .words")).to_have_text("Hello")
    page.get_by_label("Language").select_option("fr")
    script.say(type="error", code="busy", message="A segment is not answered yet.")
    for message in answer("Hi.", "Hello")[2:]:
        script.say(**message)
    expect(page.locator(".response .timing")).to_contain_text("whole reply")
    expect(page.get_by_role("alert")).to_be_hidden()
    opened = [message for message in script.received if message["type"] == "session"]
    assert [message.get("language") for message in opened] == [None, "fr", "fr"]


def test_a_session_taken_over_is_not_taken_back(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str
) -> None:
    script = Script([])
    page = open_page(echo_server.url, question_once, prepare=script)
    wait_connected(page)
    script.socket.close(code=4001, reason="a newer connection has taken over this session")
    expect(page.get_by_role("alert")).to_contain_text("taken over")
    expect(page.locator("#connection")).to_have_text("Disconnected")


def test_microphone_refused(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str, artifacts: Path
) -> None:
    page = open_page(echo_server.url, question_once, ui=DENY)
    wait_connected(page)
    page.get_by_role("button", name="Talk").click()
    expect(page.get_by_role("alert")).to_contain_text("may not use the microphone")
    expect(page.get_by_role("button", name="Talk")).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".turn")).to_have_count(0)
    keep(page, artifacts, "microphone-refused")
    assert violations(page) == []


def test_microphone_unplugged(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str
) -> None:
    script = Script(answer("Hi.", "Hello."))
    page = open_page(echo_server.url, question_once, prepare=lambda page: (
        script(page), page.add_init_script(KEEP_STREAM)))  # fmt: skip
    wait_connected(page)
    page.locator("#talk").dispatch_event("click")
    expect(page.locator("#hearing")).to_have_text("Listening")
    page.evaluate("unplug()")
    expect(page.get_by_role("alert")).to_contain_text("disconnected")
    expect(page.locator(".response .words")).to_have_text("Hello.")


KEEP_STREAM = """
const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const stream = await real(wanted);
  window.unplug = () => {
    for (const track of stream.getTracks()) {
      track.stop();
      track.dispatchEvent(new Event("ended"));
    }
  };
  return stream;
};
"""


def test_a_token_comes_after_the_hash(
    start_server: StartServer, open_page: OpenPage, question_once: str
) -> None:
    server = start_server("--asr-model", "tiny.en", "--llm", "echo", "--auth-token", "t0ken")
    page = open_page(server.url, question_once, may_complain=True)
    expect(page.get_by_role("alert")).to_contain_text("wants a token")
    page = open_page(f"{server.url}/#token=t0ken", question_once)
    wait_connected(page)
    expect(page.locator("#sessions")).to_have_text("1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768, 390, 320])
def test_every_width_and_scheme_is_accessible(
    echo_server: ServerProcess,
    open_page: OpenPage,
    question_once: str,
    artifacts: Path,
    scheme: str,
    width: int,
) -> None:
    script = Script(answer("What is the capital of France?", "The capital of France is Paris."))
    page = open_page(
        echo_server.url,
        question_once,
        prepare=script,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    wait_connected(page)
    keep(page, artifacts, f"{scheme}-{width}-idle")
    assert violations(page) == []
    tap_twice(page)
    expect(page.locator(".response .timing")).to_contain_text("whole reply")
    if width < 960:
        page.get_by_text("Instruments").click()
    keep(page, artifacts, f"{scheme}-{width}-answered")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_reduced_motion_stills_the_page(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str
) -> None:
    for motion, animation in (("no-preference", "breathe"), ("reduce", "none")):
        script = Script([])
        page = open_page(echo_server.url, question_once, prepare=script, reduced_motion=motion)
        wait_connected(page)
        page.locator("#talk").dispatch_event("click")
        name = "getComputedStyle(document.querySelector('.call .words'), '::after').animationName"
        assert page.evaluate(name) == animation


def test_nothing_is_fetched_from_elsewhere(
    echo_server: ServerProcess, open_page: OpenPage, question_once: str
) -> None:
    asked: list[str] = []
    page = open_page(
        echo_server.url,
        question_once,
        prepare=lambda page: page.on("request", lambda request: asked.append(request.url)),
    )
    wait_connected(page)
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith(echo_server.url)] == []
