"""The remote backend against a server that does everything wrong."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from bad_server import (
    PATIENCE_S,
    BadServer,
    Behaviour,
    Exchange,
    answers,
    bad_server,
    breaks_off,
    does_not_support,
    falls_silent,
    hangs_up,
    refuses,
    sends,
)
from llm_fakes import Reply as Said
from llm_fakes import Talk, request
from prometheus_client import REGISTRY
from test_llm_lane import Ear

from engine.config import EngineSettings
from engine.errors import ModelError
from engine.llm.openai import OpenAi
from engine.llm.openai_http import AttemptFailed, OpenAiHttp, base_url
from engine.llm.openai_reply import Reply, backoff_s
from engine.llm_lane import LlmLane
from engine.types import Failure, GenerateRequest, Message, Sampling

KEY = "sk-very-secret"


class Bench:
    """A misbehaving server and a backend that asks it."""

    def __init__(self, server: BadServer, **settings: object) -> None:
        self.server = server
        values = {"llm": "openai", "llm_url": server.url, "llm_model": "m", "llm_retries": 1}
        self.settings = EngineSettings.model_validate(values | settings)
        news = threading.Event()
        self.backend = OpenAi(self.settings, KEY, news.set)
        self.talk = Talk(self.backend, news)

    def ask(self, *behaviours: Behaviour, messages: tuple[Message, ...] = ()) -> Said:
        self.server.behaviours.extend(behaviours)
        asked = request(self.talk.new_key())
        if messages:
            asked = GenerateRequest(asked.key, 0, messages, 32)
        (reply,) = self.talk.ask(asked)
        assert not self.server.behaviours, "it was not asked as often as expected"
        assert reply.endings == 1
        return reply


@pytest.fixture
def server() -> Iterator[BadServer]:
    with bad_server() as server:
        yield server


@pytest.fixture
def bench(server: BadServer) -> Iterator[Bench]:
    bench = Bench(server)
    yield bench
    bench.backend.close()


@pytest.fixture
def hasty(server: BadServer) -> Iterator[Bench]:
    """One that waits for nobody."""
    bench = Bench(server, llm_first_token_timeout_s=0.1, llm_idle_timeout_s=0.1)
    yield bench
    bench.backend.close()


def failure(reply: Said, code: str = "llm_failed") -> str:
    assert isinstance(reply.ending, Failure)
    assert reply.ending.code == code
    assert KEY not in reply.ending.message
    return reply.ending.message


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.001)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def tokens(kind: str) -> float:
    return REGISTRY.get_sample_value("antiphon_llm_tokens_total", {"kind": kind}) or 0.0


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


NEWER = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."


@pytest.mark.parametrize("refusal", [does_not_support("max_tokens"), refuses(400, NEWER)])
def test_a_server_that_takes_no_max_tokens_is_asked_in_its_own_way(
    bench: Bench, refusal: Behaviour
) -> None:
    assert bench.ask(refusal, answers("Hello")).text == "Hello"
    assert bench.ask(answers("Again")).text == "Again"
    sent = [{name for name in body if name.startswith("max_")} for _, _, body in bench.server.asked]
    assert sent == [{"max_tokens"}, {"max_completion_tokens"}, {"max_completion_tokens"}]
    assert bench.server.asked[-1][2]["max_completion_tokens"] == 32


def test_what_a_model_that_reasons_does_not_take_is_left_out(bench: Bench) -> None:
    refused = [does_not_support("max_tokens"), does_not_support("temperature", "unsupported_value")]
    assert bench.ask(*refused, does_not_support("top_p"), answers("Hello")).text == "Hello"
    assert not {"max_tokens", "temperature", "top_p"} & bench.server.asked[-1][2].keys()


@pytest.mark.parametrize(
    "refusals",
    [
        [does_not_support("max_tokens", "invalid_value")],  # too many of them, say
        [does_not_support("messages")],
        [does_not_support("max_tokens"), does_not_support("max_tokens")],
        [does_not_support("max_tokens"), does_not_support("max_completion_tokens")],
    ],
)
def test_a_refusal_that_no_other_words_would_mend_is_told(
    bench: Bench, refusals: list[Behaviour]
) -> None:
    assert "400" in failure(bench.ask(*refusals))


def test_requests_refused_at_once_all_try_in_the_other_way(bench: Bench) -> None:
    both = threading.Barrier(2)

    def refuse(exchange: Exchange) -> None:
        both.wait(PATIENCE_S)
        does_not_support("max_tokens")(exchange)

    bench.server.behaviours.extend([refuse, refuse, answers("Yes"), answers("Yes")])
    replies = bench.talk.ask(*(request(bench.talk.new_key()) for _ in range(2)))
    assert [reply.text for reply in replies] == ["Yes", "Yes"]


@pytest.mark.parametrize("wait", ["60", "inf"])
def test_a_server_that_wants_a_long_wait_is_not_waited_for(bench: Bench, wait: str) -> None:
    assert "429" in failure(bench.ask(refuses(429, retry_after=wait)), "overloaded")


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


OVERFLOWS = [
    "This model's maximum context length is 100 tokens. However, you requested 232 tokens "
    "(200 in the messages, 32 in the completion). Please reduce the length of the messages.",
    "This model's maximum context length is 100 tokens. However, your messages resulted in 200 "
    "tokens.",
    "The input (200 tokens) is longer than the model's context length (100 tokens).",
    "Request length 200 + 32 is greater than max_seq_len 100",
]


@pytest.mark.parametrize("told", OVERFLOWS)
def test_when_the_prompt_is_too_long_the_oldest_turns_leave(bench: Bench, told: str) -> None:
    turns = [Message("user", f"question {n}") for n in range(4)]
    history = [m for turn in turns[:-1] for m in (turn, Message("assistant", "x" * 60))]
    messages = (Message("system", "S"), *history, turns[-1])
    assert bench.ask(refuses(400, told), answers("Hello"), messages=messages).text == "Hello"
    first, second = (body["messages"] for _, _, body in bench.server.asked)
    assert len(first) == len(messages)
    assert len(second) < len(first)
    assert (second[0], second[-1]) == (first[0], first[-1])
    assert second[1]["role"] == "user"


def test_one_turn_that_is_too_long_fails_and_says_so(bench: Bench) -> None:
    message = failure(bench.ask(refuses(400, OVERFLOWS[0])))
    assert message.startswith("what was said is too long for the model: 200 tokens")


def run_to_its_end(server: BadServer, behaviour: Behaviour) -> None:
    """One reply with all that comes after its last piece."""
    server.behaviours.append(behaviour)
    settings = EngineSettings(llm="openai", llm_url=server.url, llm_retries=0)

    async def run() -> None:
        http = OpenAiHttp(settings, None)
        with suppress(AttemptFailed):
            await Reply(http, "m", request(1), settings, lambda _: None).run()
        await http.close()

    asyncio.run(run())


def test_tokens_are_counted_as_the_server_says(server: BadServer) -> None:
    cached = {"prompt_tokens_details": {"cached_tokens": 20}}
    usage = {"prompt_tokens": 30, "completion_tokens": 5, **cached}
    kinds = ("cached", "prompt", "generated", "generated_estimated")
    before = [tokens(kind) for kind in kinds]
    run_to_its_end(server, answers("Hello", usage=usage))
    assert [tokens(kind) - b for kind, b in zip(kinds, before, strict=True)] == [20, 10, 5, 0]


def test_tokens_that_nobody_counted_are_estimated_and_marked(server: BadServer) -> None:
    before = tokens("generated"), tokens("generated_estimated"), tokens("prompt_estimated")
    run_to_its_end(server, breaks_off("Call and response"))
    assert tokens("generated") == before[0]
    assert tokens("generated_estimated") > before[1]
    assert tokens("prompt_estimated") > before[2]


def test_a_proxy_is_not_asked_for_this_machine(
    server: BadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    bench = Bench(server)
    assert bench.ask(answers("Hello")).text == "Hello"
    bench.backend.close()


def test_a_server_that_is_not_there_yet_is_waited_for(
    server: BadServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a problem, told with the address and what to do; when the server comes, it passes."""
    monkeypatch.setattr("engine.llm.openai._RECOVERY_S", 0.02)
    caplog.set_level("INFO")
    port = free_port()
    settings = EngineSettings(llm="openai", llm_url=f"http://127.0.0.1:{port}", llm_retries=0)
    ear = Ear()
    lane = LlmLane(lambda wake: OpenAi(settings, None, wake), settings, ear)
    lane.begin()
    lane.wait_ready()
    assert not lane.alive
    assert "cannot be reached" in str(lane.problem)
    assert (lane.name, lane.dead) == ("openai", None)
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert f"http://127.0.0.1:{port}" in told
    assert "--llm-url" in told
    lane.submit(request(1))
    assert failure(Said(ending=ear.wait_for_endings(1)[0]))
    with bad_server(port) as late:
        late.behaviours.extend([answers("Hi")] * 1000)
        wait_until(lambda: lane.alive)
        assert lane.name == "openai/first"
        lane.submit(request(2))
        assert ear.wait_for_endings(2)[1].finish_reason == "stop"
        assert "answers" in caplog.text
        lane.close()


def test_a_server_that_still_loads_its_model_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp says 503 meanwhile, which is otherwise the word of a server that is only busy."""
    monkeypatch.setattr("engine.llm.openai._RECOVERY_S", 0.02)
    loading = refuses(503, "Loading model")
    bench.server.behaviours.extend([loading, loading, answers("Hi")])
    bench.backend.warmup()
    assert "Loading model" in str(bench.backend.problem)
    wait_until(lambda: bench.backend.problem is None)
    assert len(bench.server.asked) == 3


def test_a_busy_server_is_well(bench: Bench) -> None:
    bench.server.behaviours.extend([answers("Hi"), refuses(503, "busy")])
    bench.backend.warmup()
    bench.backend._begin(bench.backend._probe()).result(PATIENCE_S)
    assert bench.backend.problem is None


@pytest.mark.parametrize("status", [404, 401])
def test_what_is_set_wrongly_is_an_error_at_the_start(server: BadServer, status: int) -> None:
    bench = Bench(server)
    server.behaviours.append(refuses(status))
    with pytest.raises(ModelError, match=str(status)):
        bench.backend.warmup()
    bench.backend.close()


def test_a_server_that_only_lists_its_models_is_not_well(server: BadServer) -> None:
    bench = Bench(server, llm_model="auto", llm_first_token_timeout_s=0.1)
    assert bench.backend.name == "openai/first"
    server.behaviours.append(falls_silent())
    bench.backend.warmup()
    assert "said nothing" in str(bench.backend.problem)
    bench.backend.close()


def test_after_a_failure_it_asks_whether_the_server_is_well(server: BadServer) -> None:
    bench = Bench(server, llm_retries=0)
    gone = refuses(500, "gone")
    server.behaviours.extend([answers("Hi"), gone, gone, answers("Hi")])
    bench.backend.warmup()
    assert bench.backend.problem is None
    failure(bench.talk.ask(request(1))[0])
    wait_until(lambda: bench.backend.problem is not None)
    assert "gone" in str(bench.backend.problem)
    assert server.asked[-1][2]["max_tokens"] == 1
    assert bench.talk.ask(request(2))[0].text == "Hi"  # it may ask for a reply all the same
    assert bench.backend.problem is None
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
