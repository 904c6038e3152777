"""The remote backend against llama.cpp's own HTTP server, with the real small model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_llama import KEY, HttpLlama
from llm_fakes import Talk, is_ending
from prometheus_client import REGISTRY
from test_llm_lane import Ear

from engine.config import EngineSettings
from engine.errors import ModelError
from engine.llm.load import load, read_key
from engine.llm.openai import OpenAi
from engine.llm_lane import LlmLane
from engine.types import Failure, GenerateRequest, Message, ResponseDelta

pytestmark = pytest.mark.models


def settings_for(server: HttpLlama) -> EngineSettings:
    return EngineSettings(llm="openai", llm_url=server.url, llm_context_tokens=1024)


@pytest.fixture(scope="module")
def server(smollm2: Path) -> Iterator[HttpLlama]:
    server = HttpLlama(smollm2)
    yield server
    server.kill()


@pytest.fixture(scope="module")
def remote(server: HttpLlama) -> Iterator[Talk]:
    news = threading.Event()
    backend = OpenAi(settings_for(server), KEY, news.set)
    backend.warmup()
    yield Talk(backend, news)
    backend.close()


def asked(key: int, text: str, max_tokens: int = 24) -> GenerateRequest:
    system = Message("system", EngineSettings().system)
    return GenerateRequest(key, 0, (system, Message("user", text)), max_tokens)


def test_it_answers_sensibly_and_names_the_model(remote: Talk) -> None:
    (reply,) = remote.ask(asked(remote.new_key(), "What is the capital of France?"))
    assert "Paris" in reply.text
    assert reply.reason == "stop"
    assert remote.backend.name == "openai/SmolLM2-135M-Instruct.Q4_1"


def test_sessions_at_once_each_get_their_own_answer(remote: Talk) -> None:
    questions = {"What is the capital of France?": "Paris", "What is the capital of Italy?": "Rome"}
    replies = remote.ask(*(asked(remote.new_key(), q) for q in questions))
    for reply, expected in zip(replies, questions.values(), strict=True):
        assert expected in reply.text


def test_cancel_stops_the_real_server_too(remote: Talk) -> None:
    key = remote.new_key()
    remote.backend.submit(asked(key, "Count from one to one hundred.", max_tokens=400))
    remote.run_until(lambda replies: bool(replies) and len(replies[key, 0].pieces) >= 3)
    remote.backend.cancel(key, 0)
    replies = remote.run_until(lambda replies: (key, 0) in replies and replies[key, 0].endings)
    assert replies[key, 0].reason == "cancelled"


def test_a_history_too_long_for_the_server_loses_its_oldest_turns(server: HttpLlama) -> None:
    # The server's slots hold 1024 tokens; here nobody knows.
    settings = settings_for(server).model_copy(update={"llm_context_tokens": 8192})
    news = threading.Event()
    backend = OpenAi(settings, KEY, news.set)
    talk = Talk(backend, news)
    history = [
        Message("user", "Tell me of the sea."),
        Message("assistant", "It is wide. " * 60),
    ] * 6
    messages = (*history, Message("user", "What is the capital of France?"))
    (reply,) = talk.ask(GenerateRequest(1, 0, messages, 16))
    assert reply.reason in ("stop", "length")
    (reply,) = talk.ask(asked(2, "word " * 2000))
    assert isinstance(reply.ending, Failure)
    assert "its context holds 1024" in reply.ending.message
    backend.close()


def test_a_wrong_key_is_an_error_at_the_start_that_does_not_tell_it(
    server: HttpLlama, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    with pytest.raises(ModelError, match="ANTIPHON_LLM_KEY") as caught:
        OpenAi(settings_for(server), "sk-wrong-and-secret", lambda: None)
    settings = settings_for(server).model_copy(update={"llm_model": "named"})
    backend = OpenAi(settings, "sk-wrong-and-secret", lambda: None)
    with pytest.raises(ModelError, match="ANTIPHON_LLM_KEY"):
        backend.warmup()
    backend.close()
    told = [str(caught.value), caplog.text, *capfd.readouterr(), repr(backend)]
    assert not [text for text in told if "secret" in text]


def test_a_server_killed_in_mid_reply_fails_the_reply_and_is_reported(smollm2: Path) -> None:
    server, ear = HttpLlama(smollm2), Ear()
    settings = settings_for(server).model_copy(
        update={"llm_retries": 0, "llm_health_interval_s": 0.05}
    )
    lane = LlmLane(lambda wake: OpenAi(settings, KEY, wake), settings, ear)
    lane.begin()
    lane.wait_ready()
    assert lane.problem is None
    lane.submit(asked(1, "Count from one to one hundred.", max_tokens=400))
    ear.wait_for(lambda events: len(events) >= 3)
    server.kill()
    (ending,) = ear.wait_for_endings(1)
    assert isinstance(ending, Failure)
    assert ending.code == "llm_failed"
    said = [event for event in ear.events if isinstance(event, ResponseDelta)]
    assert said
    assert not any(map(is_ending, said))
    lane.submit(asked(2, "Hello?"))
    assert isinstance(ear.wait_for_endings(2)[1], Failure)
    lane.close()


def test_tokens_are_the_servers_own_count(remote: Talk) -> None:
    def generated() -> float:
        return REGISTRY.get_sample_value("antiphon_llm_tokens_total", {"kind": "generated"}) or 0.0

    before = generated()
    first, second = (asked(remote.new_key(), "Count to nine.", max_tokens=n) for n in (5, 6))
    remote.ask(first)
    remote.ask(second)  # by its end the first one's usage has come
    assert generated() - before >= 5


def test_the_key_is_read_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f" {KEY}\n")
    assert read_key(file, {}) == KEY
    assert read_key(None, {"ANTIPHON_LLM_KEY": KEY}) == KEY
    assert read_key(None, {}) is read_key(None, {"ANTIPHON_LLM_KEY": " "}) is None
    with pytest.raises(ModelError, match="give one"):
        read_key(file, {"ANTIPHON_LLM_KEY": KEY})
    for wrong in ("sk-se cret", "sk-se\ncret", "sk-sécret"):
        with pytest.raises(ModelError, match="no key has") as caught:
            read_key(None, {"ANTIPHON_LLM_KEY": wrong})
        assert "cret" not in str(caught.value)
    with pytest.raises(ModelError, match="cannot read"):
        read_key(tmp_path / "absent", {})


def test_settings_choose_it(server: HttpLlama, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    settings = settings_for(server).model_copy(update={"llm_key_file": file, "llm_model": "mine"})
    backend = load(settings, lambda: None)
    assert backend.name == "openai/mine"
    backend.close()
