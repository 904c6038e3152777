"""`antiphon demo` with the real models, and the server as a child process."""

from __future__ import annotations

import subprocess
import sys
import urllib.request

import pytest

from server.process import ServerFailed, ServerProcess


@pytest.mark.models
def test_demo_asks_the_question_and_gets_an_answer() -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "server.cli", "demo"], capture_output=True, text=True, timeout=180
    )
    assert demo.returncode == 0, demo.stderr
    assert "you       What is the capital of France?" in demo.stdout
    assert "Paris" in demo.stdout.partition("antiphon  ")[2]
    assert "end of turn → first token" in demo.stdout


@pytest.mark.models
def test_server_runs_as_a_child_and_stops_gently() -> None:
    lines: list[str] = []
    server = ServerProcess(lines.append)
    with server:
        url = server.start(["--asr-model", "tiny.en", "--llm", "echo"], timeout_s=60)
        with urllib.request.urlopen(f"{url}/ready", timeout=10) as answer:
            assert answer.status == 200
        assert server.ws_url.startswith("ws://127.0.0.1:")
        assert server.pid > 0
        assert server.stop() == 0
    assert f"Antiphon is listening on {url}" in lines
    assert "stopped" in server.log_tail


def test_a_server_that_cannot_start_says_why() -> None:
    with ServerProcess() as server, pytest.raises(ServerFailed, match="no-such-model"):
        server.start(["--asr-model", "no-such-model", "--llm", "echo"], timeout_s=60)


def test_a_server_that_takes_too_long_is_stopped() -> None:
    server = ServerProcess()
    with pytest.raises(ServerFailed, match="not ready within"):
        server.start(["--llm", "echo"], timeout_s=0.01)
    assert server.stop() != 0
