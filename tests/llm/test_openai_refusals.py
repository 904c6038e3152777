"""What a remote server does not take as it was asked, and how it is asked then."""

from __future__ import annotations

import threading

import pytest
from bad_server import (
    PATIENCE_S,
    BadServer,
    Behaviour,
    Exchange,
    answers,
    does_not_support,
    refuses,
    sends,
)
from llm_fakes import request
from openai_bench import Bench, failure

from engine.types import GenerateRequest, Message

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


@pytest.mark.parametrize("status", [400, 500])  # vLLM, llama.cpp
def test_a_model_that_knows_no_system_role_hears_it_from_the_user(
    bench: Bench, status: int
) -> None:
    messages = (Message("system", "Be brief."), *turns(1), Message("user", "And now?"))
    refusal = refuses(status, "System role not supported")
    assert bench.ask(refusal, answers("Hello"), messages=messages).text == "Hello"
    assert bench.ask(answers("Again"), messages=messages).text == "Again"
    for _, _, body in bench.server.asked[1:]:
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
        assert body["messages"][0]["content"] == "Be brief.\n\nno. 0"


@pytest.mark.parametrize(
    "refusals",
    [
        [does_not_support("max_tokens", "invalid_value")],  # too many of them, say
        [does_not_support("messages")],
        [refuses(400, "System role not supported")],  # and none was sent
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


OVERFLOWS = [
    "This model's maximum context length is 100 tokens. However, your request has 200 input "
    "tokens. Please reduce the length of the input messages.",
    "'max_tokens' or 'max_completion_tokens' is too large: 32. This model's maximum context length "
    "is 100 tokens and your request has 90 input tokens (32 > 100 - 90).",
    "the request exceeds the available context size, try increasing it",
]


@pytest.mark.parametrize("told", OVERFLOWS)
def test_when_the_prompt_is_too_long_the_oldest_turns_leave(bench: Bench, told: str) -> None:
    messages = (Message("system", "S"), *turns(3), Message("user", "question"))
    assert bench.ask(refuses(400, told), answers("Hello"), messages=messages).text == "Hello"
    first, second = (body["messages"] for _, _, body in bench.server.asked)
    assert len(first) == len(messages)
    assert len(second) < len(first)
    assert (second[0], second[-1]) == (first[0], first[-1])
    assert second[1]["role"] == "user"
    assert "max_tokens" in bench.server.asked[-1][2]


def test_no_longer_a_reply_is_asked_for_than_room_was_kept_for(bad: BadServer) -> None:
    """Or a strict server would refuse what was made to fit."""
    bench = Bench(bad, llm_context_tokens=256)
    bad.behaviours.extend([refuses(400, OVERFLOWS[0]), answers("Hello")])
    messages = (*turns(2), Message("user", "question"))
    (reply,) = bench.talk.ask(GenerateRequest(1, 0, messages, max_tokens=200))
    assert reply.text == "Hello"
    assert [body["max_tokens"] for _, _, body in bad.asked] == [128, 50]
    bench.backend.close()


def test_a_server_that_tells_no_sizes_is_soon_asked_for_little(bench: Bench) -> None:
    """As far as one turn, and not in as many steps as there are turns."""
    refusals = [refuses(400, OVERFLOWS[2])] * 3
    message = failure(bench.ask(*refusals, messages=(*turns(30), Message("user", "question"))))
    assert "too long for the model" in message
    assert "longer context" in message
    assert len(bench.server.asked[-1][2]["messages"]) == 1


def test_one_turn_that_is_too_long_fails_and_says_so(bench: Bench) -> None:
    message = failure(bench.ask(refuses(400, OVERFLOWS[0])))
    assert message.startswith("what was said is too long for the model: 200 tokens")


def test_a_context_that_overflows_in_mid_reply_does_not_begin_it_again(bench: Bench) -> None:
    piece = {"choices": [{"delta": {"content": "Call and"}}]}
    overflow = sends(piece, {"error": {"message": OVERFLOWS[2]}})
    reply = bench.ask(overflow, messages=(*turns(3), Message("user", "question")))
    assert reply.text == "Call and"
    failure(reply)


def turns(count: int) -> tuple[Message, ...]:
    pairs = ((Message("user", f"no. {n}"), Message("assistant", "x" * 60)) for n in range(count))
    return tuple(message for pair in pairs for message in pair)
