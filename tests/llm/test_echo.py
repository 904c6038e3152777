from hypothesis import given
from hypothesis import strategies as st
from llm_fakes import request

from engine.llm.echo import Echo
from engine.types import LlmEvent, ResponseDelta


def run(echo: Echo) -> list[LlmEvent]:
    events: list[LlmEvent] = []
    while echo.busy:
        events += echo.step()
    return events


@given(st.text(max_size=300))
def test_the_pieces_joined_are_the_message(text: str) -> None:
    echo = Echo(1)
    echo.submit(request(1, text=text, max_tokens=1000))
    events = run(echo)
    assert "".join(event.text for event in events) == text
    assert [event.finish_reason for event in events] == [None] * (len(events) - 1) + ["stop"]


def test_a_word_is_a_token() -> None:
    echo = Echo(1)
    echo.submit(request(1, text="one two  three four", max_tokens=3))
    assert run(echo) == [
        ResponseDelta(1, 0, "one"),
        ResponseDelta(1, 0, " two"),
        ResponseDelta(1, 0, "  three"),
        ResponseDelta(1, 0, "", "length"),
    ]


def test_cancel_ends_one_reply_and_no_other() -> None:
    echo = Echo(2)
    echo.submit(request(1, text="one two"))
    echo.submit(request(2, text="three"))
    assert echo.free == 0
    echo.step()
    echo.cancel(1, 0)
    echo.cancel(1, 0)
    assert run(echo) == [ResponseDelta(1, 0, "", "cancelled"), ResponseDelta(2, 0, "", "stop")]
    assert echo.free == 2
