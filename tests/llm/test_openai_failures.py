"""The remote backend against a server that does everything wrong."""

from __future__ import annotations

import pytest
from bad_server import (
    PATIENCE_S,
    BadServer,
    Behaviour,
    answers,
    breaks_off,
    falls_silent,
    hangs_up,
    refuses,
    sends,
)
from llm_fakes import request
from openai_bench import KEY, Bench, failure, run_to_its_end, tokens

from engine.llm.openai_http import base_url
from engine.llm.openai_reply import backoff_s
from engine.types import Failure, GenerateRequest, Message, Sampling


def test_a_reply_and_what_was_asked(bench: Bench) -> None:
    bench.server.behaviours.append(answers("Call", " and response", finish="length"))
    sampling = Sampling(0.5, 0.9, ("\n",), 7)
    asked = GenerateRequest(1, 0, (Message("system", "S"), Message("user", "U")), 9, sampling)
    (reply,) = bench.talk.ask(asked)
    assert (reply.pieces, reply.reason) == (["Call", " and response"], "length")
    ((path, headers, body),) = bench.server.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["\n"],
        "seed": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    "trouble",
    [
        refuses(500),
        refuses(429),
        refuses(503, retry_after="0"),
        hangs_up,
        breaks_off(),
        sends("{"),
        sends("[1]"),
        sends({"choices": "none"}),
        sends(content_type="text/html"),
    ],
)
def test_before_the_first_piece_it_tries_again(bench: Bench, trouble: Behaviour) -> None:
    assert bench.ask(trouble, answers("Hello")).text == "Hello"


@pytest.mark.parametrize(
    ("trouble", "code", "told"),
    [
        (refuses(429, "slow down"), "overloaded", "429: slow down"),
        (refuses(500, "boom"), "llm_failed", "500: boom"),
        (hangs_up, "llm_failed", "broke off"),
        (breaks_off(), "llm_failed", "in the middle"),
        (sends("{"), "llm_failed", "nonsense"),
    ],
)
def test_it_does_not_try_for_ever(bench: Bench, trouble: Behaviour, code: str, told: str) -> None:
    assert told in failure(bench.ask(trouble, trouble), code)


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (refuses(400, "bad temperature"), "400: bad temperature"),
        (refuses(401, f"no {KEY}"), "ANTIPHON_LLM_KEY"),
        (refuses(404, "no such model"), "no such model"),
        (sends({"error": {"message": "out of memory"}}), "out of memory"),
        (sends({"error": "out of memory"}), "out of memory"),
    ],
)
def test_what_another_try_would_not_mend_is_told_at_once(
    bench: Bench, trouble: Behaviour, told: str
) -> None:
    assert told in failure(bench.ask(trouble))


@pytest.mark.parametrize(
    "trouble",
    [
        refuses(400, f"Incorrect key: {KEY}."),
        sends({"error": f"Incorrect key: {KEY}."}),
        sends([KEY]),
    ],
)
def test_a_server_that_names_the_key_does_not_tell_it_to_clients(
    bad: BadServer, trouble: Behaviour
) -> None:
    bench = Bench(bad, llm_retries=0)
    assert "***" in failure(bench.ask(trouble))
    bench.backend.close()


@pytest.mark.parametrize("wait", ["60", "inf"])
def test_a_server_that_wants_a_long_wait_is_not_waited_for(bench: Bench, wait: str) -> None:
    reply = bench.ask(refuses(429, retry_after=wait))
    assert "429" in failure(reply, "overloaded")
    assert isinstance(reply.ending, Failure)
    assert reply.ending.retry_after_ms == min(float(wait), 3600) * 1000


def test_a_long_story_about_an_error_is_cut(bench: Bench) -> None:
    assert len(failure(bench.ask(refuses(400, "no " * 5000)))) < 400


@pytest.mark.parametrize(
    "trouble",
    [breaks_off("Call and"), sends({"choices": [{"delta": {"content": "Call and"}}]}, "{")],
)
def test_after_the_first_piece_it_does_not_begin_again(bench: Bench, trouble: Behaviour) -> None:
    reply = bench.ask(trouble)
    assert reply.text == "Call and"
    failure(reply)


def test_silence_before_the_first_piece_is_a_timeout(hasty: Bench) -> None:
    assert "said nothing for 0.1 s" in failure(hasty.ask(falls_silent()), "timeout")
    assert hasty.server.client_left.wait(PATIENCE_S)


def test_silence_in_the_middle_is_a_timeout_and_keeps_what_was_said(hasty: Bench) -> None:
    reply = hasty.ask(falls_silent("Call", " and"))
    assert "fell silent for 0.1 s" in failure(reply, "timeout")
    assert reply.text == "Call and"


def test_a_reply_that_ended_does_not_wait_for_the_end_of_its_stream(hasty: Bench) -> None:
    def lingers(exchange) -> None:
        exchange.begin()
        exchange.say("Hello", finish="stop")
        exchange.wait_for_the_client_to_leave()

    assert hasty.ask(lingers).reason == "stop"


@pytest.mark.parametrize("pieces", [(), ("Call",)])
def test_cancel_closes_the_stream(bench: Bench, pieces: tuple[str, ...]) -> None:
    bench.server.behaviours.append(falls_silent(*pieces))
    bench.backend.submit(request(1))
    if pieces:
        bench.talk.run_until(lambda replies: bool(replies))
    bench.backend.cancel(1, 0)
    bench.backend.cancel(1, 0)
    replies = bench.talk.run_until(lambda replies: bool(replies))
    assert (replies[1, 0].reason, replies[1, 0].endings) == ("cancelled", 1)
    assert bench.backend.free == bench.settings.llm_slots
    if pieces:
        assert bench.server.client_left.wait(PATIENCE_S)


def test_tokens_are_counted_as_the_server_says(bad: BadServer) -> None:
    cached = {"prompt_tokens_details": {"cached_tokens": 20}}
    usage = {"prompt_tokens": 30, "completion_tokens": 5, **cached}
    kinds = ("cached", "prompt", "generated", "generated_estimated")
    before = [tokens(kind) for kind in kinds]
    run_to_its_end(bad, answers("Hello", usage=usage))
    assert [tokens(kind) - b for kind, b in zip(kinds, before, strict=True)] == [20, 10, 5, 0]


def test_tokens_that_nobody_counted_are_estimated_and_marked(bad: BadServer) -> None:
    before = tokens("generated"), tokens("generated_estimated"), tokens("prompt_estimated")
    run_to_its_end(bad, breaks_off("Call and response"))
    assert tokens("generated") == before[0]
    assert tokens("generated_estimated") > before[1]
    assert tokens("prompt_estimated") > before[2]


def test_a_proxy_is_not_asked_for_this_machine(
    bad: BadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    bench = Bench(bad)
    assert bench.ask(answers("Hello")).text == "Hello"
    bench.backend.close()


def test_backoff_doubles_and_heeds_the_server() -> None:
    assert [backoff_s(tries, 0, 1) for tries in range(3)] == [0.25, 0.5, 1.0]
    assert backoff_s(0, 0, 0) == 0.125
    assert backoff_s(0, 4, 0.5) == 4


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://host:1", "http://host:1/v1/"),
        ("http://host:1/", "http://host:1/v1/"),
        ("https://host/v1", "https://host/v1"),
        ("https://host/api/v3/", "https://host/api/v3/"),
    ],
)
def test_an_address_without_a_path_means_v1(given: str, meant: str) -> None:
    assert base_url(given) == meant
