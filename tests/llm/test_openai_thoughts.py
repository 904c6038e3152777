"""A remote model that reasons before it answers: that is neither said nor silence."""

from __future__ import annotations

import time

import pytest
from bad_server import BadServer, Exchange, ends, sends, thinks
from openai_bench import Bench, failure, tokens

SAYS = {"choices": [{"delta": {"content": "Paris."}}]}


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_what_it_thinks_is_not_said(bench: Bench, field: str) -> None:
    reply = bench.ask(sends(*thinks("The", " capital?", field=field), SAYS, ends()))
    assert (reply.pieces, reply.reason) == (["Paris."], "stop")


def test_while_it_thinks_it_is_not_silent(bad: BadServer) -> None:
    def ponder(exchange: Exchange) -> None:
        exchange.begin()
        for thought in thinks("The", " capital?"):
            exchange.event(thought)
            time.sleep(0.6)
        exchange.say("Paris.", finish="stop")

    bench = Bench(bad, llm_first_token_timeout_s=0.5, llm_idle_timeout_s=20)
    assert bench.ask(ponder).text == "Paris."
    bench.backend.close()


def test_one_that_stops_to_think_fell_silent(hasty: Bench) -> None:
    def freeze(exchange: Exchange) -> None:
        exchange.begin()
        exchange.event(*thinks("Hm."))
        exchange.wait_for_the_client_to_leave()

    assert "fell silent for 0.1 s" in failure(hasty.ask(freeze), "timeout")


@pytest.mark.parametrize("blank", ["", "\n\n"])
def test_one_that_only_thought_has_failed_and_is_told_what_to_do(bench: Bench, blank: str) -> None:
    says = {"choices": [{"delta": {"content": blank}}]}
    message = failure(bench.ask(sends(*thinks("Hm."), says, ends("length"))))
    assert "llm_max_tokens" in message
    assert "llm_extra_body" in message


def test_a_last_piece_of_nothing_ends_the_reply_once(bench: Bench) -> None:
    last = {"choices": [{"delta": {"content": "\n"}, "finish_reason": "stop"}]}
    failure(bench.ask(sends(*thinks("Hm."), last)))


def test_tokens_that_were_only_thought_are_counted(bench: Bench) -> None:
    before = tokens("generated")
    usage = {"prompt_tokens": 9, "completion_tokens": 5}
    failure(bench.ask(sends(*thinks("Hm."), ends("length"), {"choices": [], "usage": usage})))
    assert tokens("generated") == before + 5


def test_further_fields_are_sent_as_they_are_set(bad: BadServer) -> None:
    bench = Bench(bad, llm_extra_body='{"chat_template_kwargs": {"enable_thinking": false}}')
    bench.ask(sends(SAYS, ends()))
    bad.behaviours.append(sends(SAYS, ends()))
    bench.backend.warmup()
    for _, _, body in bad.asked:
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert body["model"] == "m"
    bench.backend.close()
