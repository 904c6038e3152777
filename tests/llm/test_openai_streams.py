"""Shapes that a stream of a remote server may have, all of them right."""

from __future__ import annotations

import json
import time

import pytest
from bad_server import PATIENCE_S, BadServer, Behaviour, Exchange, ends, sends, thinks
from openai_bench import Bench, failure, run_to_its_end, tokens


def piece(text: str) -> str:
    """As it is, not escaped: so vLLM and Ollama write it."""
    return json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False)


END = json.dumps(ends())


def writes(*reads: str | bytes) -> Behaviour:
    """The body of a reply, in pieces that arrive one by one."""

    def behave(exchange: Exchange) -> None:
        exchange.begin()
        for read in reads:
            exchange.wfile.write(read.encode() if isinstance(read, str) else read)
            time.sleep(0.02)

    return behave


def test_lines_may_end_as_windows_ends_them(bench: Bench) -> None:
    events = (f"data: {data}\r\n\r\n" for data in (piece("Hel"), piece("lo"), END, "[DONE]"))
    reply = bench.ask(writes("".join(events)))
    assert (reply.pieces, reply.reason) == (["Hel", "lo"], "stop")


def test_a_letter_may_arrive_in_two_halves(bench: Bench) -> None:
    raw = f"data: {piece('Où est-ce ?')}\n\ndata: {END}\n\n".encode()
    cut = raw.index("ù".encode()) + 1
    assert bench.ask(writes(raw[:cut], raw[cut:])).text == "Où est-ce ?"


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_what_ends_lines_in_other_texts_ends_none_here(bench: Bench, separator: str) -> None:
    text = f"one{separator}two"
    assert bench.ask(sends(piece(text), END)).text == text


def test_an_event_may_arrive_in_any_number_of_pieces(bench: Bench) -> None:
    raw = f"data: {piece('Hello')}\n\ndata: {END}\n\n"
    assert bench.ask(writes(*raw[:12], raw[12:])).text == "Hello"


def test_comments_and_other_fields_say_nothing(bench: Bench) -> None:
    keep_alive = ": keep-alive\n\n"
    event = f"event: message\nid: 1\ndata:{piece('Hello')}\n\n"
    assert bench.ask(writes(keep_alive, event, keep_alive, f"data: {END}\n\n")).text == "Hello"


def test_the_word_done_may_be_missing(bench: Bench) -> None:
    reply = bench.ask(sends(piece("Hello"), END))
    assert (reply.text, reply.reason) == ("Hello", "stop")


def test_usage_may_come_by_itself_after_the_end(bad: BadServer) -> None:
    before = tokens("generated")
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}
    running = {"choices": [{"delta": {"content": "Hello"}}], "usage": None}
    run_to_its_end(bad, sends(running, END, usage, "[DONE]"))
    assert tokens("generated") == before + 5


def test_the_reason_for_the_end_may_be_missing(bench: Bench) -> None:
    reply = bench.ask(sends(piece("Hel"), piece("lo"), "[DONE]"))
    assert (reply.text, reply.reason) == ("Hello", "stop")
    bench.server.behaviours.append(sends(piece("Hi"), "[DONE]"))
    bench.backend.warmup()
    assert bench.backend.problem is None


def test_done_after_an_end_is_no_second_one(bench: Bench) -> None:
    reply = bench.ask(sends(piece("Hello"), json.dumps(ends("length")), "[DONE]", "[DONE]"))
    assert (reply.reason, reply.endings) == ("length", 1)


def goes_on(*words: str) -> Behaviour:
    """A reply without an end, whatever limit was asked for."""

    def behave(exchange: Exchange) -> None:
        exchange.begin()
        try:
            while True:
                exchange.say(*words)
        except OSError:
            exchange.server.client_left.set()

    return behave


@pytest.mark.parametrize(
    ("words", "most_chars"),
    [
        (("word ",), 32 * 5),  # request() asks for 32 tokens
        (("x",), 32 * 5),  # letter by letter
        (("many tokens in one piece, " * 20,), 32 * 64 + 600),
    ],
)
def test_a_server_that_ignores_the_limit_is_cut_off_there(
    bench: Bench, caplog: pytest.LogCaptureFixture, words: tuple[str, ...], most_chars: int
) -> None:
    reply = bench.ask(goes_on(*words))
    assert (reply.reason, reply.endings) == ("length", 1)
    assert 32 * 4 <= len(reply.text) <= most_chars
    assert bench.server.client_left.wait(PATIENCE_S)
    bench.server.behaviours.append(goes_on(*words))
    bench.backend.warmup()
    assert bench.backend.problem is None
    assert caplog.text.count("ignores `max_tokens`") == 1


def test_thoughts_without_an_end_are_cut_off_as_well(bench: Bench) -> None:
    def thinks_on(exchange: Exchange) -> None:
        exchange.begin()
        try:
            while True:
                exchange.event(thinks("hm ")[0])
        except OSError:
            exchange.server.client_left.set()

    assert "thought until its reply was over" in failure(bench.ask(thinks_on))
    assert bench.server.client_left.wait(PATIENCE_S)


@pytest.mark.parametrize("size", [1, 2, 30])
def test_a_reply_within_the_limit_is_whole_however_it_is_cut(bench: Bench, size: int) -> None:
    text = "The nightingale sang for an hour. " * 3  # 24 tokens of the 32 allowed
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    reply = bench.ask(sends(*map(piece, pieces), END))
    assert (reply.text, reply.reason) == (text, "stop")
