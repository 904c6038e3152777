"""Shapes that a stream of a remote server may have, all of them right."""

from __future__ import annotations

import json
import time

import pytest
from bad_server import BadServer, Behaviour, Exchange, ends, sends
from openai_bench import Bench, run_to_its_end, tokens


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
