"""Whether a remote server is well: at the start, and after a failure."""

from __future__ import annotations

import socket
import threading

import pytest
from bad_server import (
    PATIENCE_S,
    BadServer,
    Behaviour,
    answers,
    bad_server,
    falls_silent,
    refuses,
    sends,
)
from llm_fakes import Reply as Said
from llm_fakes import request
from openai_bench import Bench, failure
from patience import wait_until
from test_llm_lane import Ear

from engine.config import EngineSettings
from engine.errors import ModelError
from engine.llm.openai import OpenAi
from engine.llm_lane import LlmLane


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_a_server_that_is_not_there_yet_is_waited_for(
    bad: BadServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
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
def test_what_is_set_wrongly_is_an_error_at_the_start(bad: BadServer, status: int) -> None:
    bench = Bench(bad)
    bad.behaviours.append(refuses(status))
    with pytest.raises(ModelError, match=str(status)):
        bench.backend.warmup()
    bench.backend.close()


def test_whether_it_is_well_is_asked_as_replies_are(bad: BadServer) -> None:
    """A chat template may refuse the system prompt: then no reply would ever come."""
    bench = Bench(bad, system="Be brief.")
    bad.behaviours.extend([refuses(400, "Conversation roles must alternate"), answers("Hi")])
    bench.backend.warmup()
    assert bench.backend.problem is None
    first, second = (body["messages"] for _, _, body in bad.asked)
    assert [message["role"] for message in first] == ["system", "user"]
    assert second == [{"role": "user", "content": "Be brief.\n\nHello."}]
    bench.backend.close()


def test_a_server_that_only_lists_its_models_is_not_well(bad: BadServer) -> None:
    bench = Bench(bad, llm_model="auto", llm_first_token_timeout_s=0.1)
    assert bench.backend.name == "openai/first"
    bad.behaviours.append(falls_silent())
    bench.backend.warmup()
    assert "said nothing" in str(bench.backend.problem)
    bench.backend.close()


def test_after_a_failure_it_asks_whether_the_server_is_well(bad: BadServer) -> None:
    bench = Bench(bad, llm_retries=0, llm_unhealthy_after=2)
    gone = refuses(500, "gone")
    bad.behaviours.extend([answers("Hi"), gone, gone, answers("Hi")])
    bench.backend.warmup()
    assert bench.backend.problem is None
    failure(bench.talk.ask(request(1))[0])
    wait_until(lambda: bench.backend.problem is not None)
    assert "gone" in str(bench.backend.problem)
    assert bad.asked[-1][2]["max_tokens"] == 1
    assert bench.talk.ask(request(2))[0].text == "Hi"  # it may ask for a reply all the same
    assert bench.backend.problem is None
    bench.backend.close()


def test_one_failure_closes_no_door(bad: BadServer) -> None:
    """It is asked again at once, and what it then answers makes up for the failure."""
    bench = Bench(bad, llm_retries=0)
    gone = refuses(500, "gone")
    bad.behaviours.extend([answers("Hi"), gone, gone, answers("Hi"), gone, gone, answers("Hi")])
    bench.backend.warmup()
    problems = []
    for turn, asked in ((1, 4), (2, 7)):  # never three failures in a row
        failure(bench.talk.ask(request(turn))[0])
        wait_until(lambda asked=asked: len(bad.asked) == asked and not bench.backend._failures)
        problems.append(bench.backend.problem)
    assert problems == [None, None]
    bench.backend.close()


def test_failures_in_a_row_make_it_unready_without_a_wait_between_them(bad: BadServer) -> None:
    bench = Bench(bad, llm_retries=0, llm_health_interval_s=3600)
    bad.behaviours.extend([answers("Hi"), *[refuses(500, "gone")] * 3])
    bench.backend.warmup()
    failure(bench.talk.ask(request(1))[0])
    wait_until(lambda: bench.backend.problem is not None)
    assert len(bad.asked) == 4
    bench.backend.close()


def test_replies_that_fail_together_are_one_failure(bad: BadServer) -> None:
    bench = Bench(bad, llm_retries=0, llm_unhealthy_after=3)
    bad.behaviours.extend([answers("Hi"), *[refuses(500, "gone")] * 4, *[answers("Hi")] * 4])
    bench.backend.warmup()
    unwell: list[str] = []
    bench.backend._unwell = unwell.append  # type: ignore[method-assign]
    loop_is_busy = threading.Event()
    bench.backend._loop.call_soon_threadsafe(loop_is_busy.wait, PATIENCE_S)
    for key in range(1, 5):
        bench.backend.submit(request(key))
    loop_is_busy.set()
    wait_until(lambda: len(bad.asked) >= 6 and not bench.backend._failures)
    assert unwell == []
    bench.backend.close()


NESTED = "[" * 100_000


@pytest.mark.parametrize(
    "nonsense", [sends(NESTED), lambda exchange: exchange.refuse_raw(500, NESTED)]
)
def test_the_watch_outlives_whatever_a_server_sends(
    bad: BadServer, nonsense: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.llm.openai._RECOVERY_S", 0.02)
    bench = Bench(bad, llm_retries=0, llm_unhealthy_after=1)
    bad.behaviours.extend([answers("Hi"), nonsense, nonsense, answers("Hi")])
    bench.backend.warmup()
    failure(bench.talk.ask(request(1))[0])
    wait_until(lambda: len(bad.asked) == 4 and bench.backend.problem is None)
    bench.backend.close()


def test_the_watch_outlives_a_bug_of_its_own(
    bad: BadServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("engine.llm.openai._RECOVERY_S", 0.02)
    bench = Bench(bad, llm_retries=0, llm_unhealthy_after=1)
    bad.behaviours.extend([answers("Hi"), refuses(500), answers("Hi")])
    bench.backend.warmup()
    with monkeypatch.context() as planted:
        planted.setattr("engine.llm.openai.body", None)
        failure(bench.talk.ask(request(1))[0])
        wait_until(lambda: "the health check failed" in str(bench.backend.problem))
    wait_until(lambda: bench.backend.problem is None)
    assert "the health check failed" in caplog.text
    bench.backend.close()
