"""What is served beside the conversation, who is let in, and how the server starts and stops."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import threading
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from harness import END, RAW, Talker, chunk, eventually, in_loop, pcm_s16le, running, settings
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from engine.client import Deliver
from engine.errors import AntiphonError, ConfigError, ModelError
from server.config import Settings
from server.service import Service
from server.web_files import load_web_files


class Answer:
    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()


async def fetch(url: str, path: str, method: str = "GET", **headers: str) -> Answer:
    def work() -> Answer:
        connection = HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.request(method, path, headers=headers)
        return Answer(connection.getresponse())

    return await asyncio.to_thread(work)


@in_loop
async def test_health_ready_metrics_and_what_is_not_there() -> None:
    async with running() as server:
        health = await fetch(server.url, "/health")
        assert (health.status, json.loads(health.text)) == (200, {"status": "alive"})
        ready = await fetch(server.url, "/ready?x=1")
        assert (ready.status, json.loads(ready.text)) == (
            200,
            {"ready": True, "asr": "fake-asr", "llm": "fake-llm"},
        )
        assert (await fetch(server.url, "/health", "HEAD")).text == ""
        nothing = await fetch(server.url, "/nothing/../etc/passwd")
        assert nothing.status == 404
        assert "/ws/audio" in nothing.text
        assert (await fetch(server.url, "/health", "DELETE")).status == 405
        assert (await fetch(server.url, "/ws/audio")).status == 426
        assert "antiphon_ready 1.0" in (await fetch(server.url, "/metrics")).text
        server.engine.ready, server.engine.problem = False, "The speech lane died."
        broken = await fetch(server.url, "/ready")
        assert (broken.status, json.loads(broken.text)["reason"]) == (503, "The speech lane died.")
        assert "antiphon_ready 0.0" in (await fetch(server.url, "/metrics")).text


@in_loop
async def test_metrics_count_what_happened() -> None:
    async with running() as server:
        async with server.talk(audio=RAW) as client:
            await client.send(chunk(pcm_s16le(100)), END, {"type": "nonsense"})
            await client.many(4)
            text = (await fetch(server.url, "/metrics")).text
        assert "antiphon_connections 1.0" in text
        for stage in ("chunk_ack", "handshake", "segment_to_transcript", "segment_to_answer"):
            assert f'antiphon_stage_seconds_count{{stage="{stage}"}}' in text
        assert 'antiphon_errors_total{code="unknown_type"}' in text
        assert 'antiphon_queue_depth{queue="outbox"} 0.0' in text


@in_loop
async def test_the_page_is_served_with_a_strict_policy(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>Hello</p>")
    (tmp_path / "app.js").write_text("export {}")
    (tmp_path / "secret.pem").write_text("key")
    async with running() as server:
        server.service._files.clear()
        assert (await fetch(server.url, "/")).status == 404
        server.service._files.update(load_web_files(tmp_path))
        page = await fetch(server.url, "/")
        assert (page.status, page.text) == (200, "<p>Hello</p>")
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        script = await fetch(server.url, "/app.js")
        assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert (await fetch(server.url, "/secret.pem")).status == 404


def test_no_page_is_no_problem(tmp_path: Path) -> None:
    assert load_web_files(tmp_path / "nothing") == {}


async def refused(url: str, **kwargs: object) -> int:
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, **kwargs)
    return caught.value.response.status_code


@in_loop
async def test_pages_of_other_hosts_are_refused() -> None:
    async with running() as server:
        assert await refused(server.ws_url, origin="https://evil.org") == 403
        async with connect(server.ws_url, origin=server.url):
            pass
    async with running({"origins": ["https://app.example"]}) as server:
        assert await refused(server.ws_url, origin=server.url) == 403
        async with connect(server.ws_url, origin="https://app.example"):
            pass


@in_loop
async def test_the_token_is_needed_where_one_is_set() -> None:
    async with running({"auth_token": "secret"}) as server:
        assert await refused(server.ws_url) == 401
        assert await refused(server.ws_url + "?token=wrong") == 401
        async with connect(server.ws_url + "?token=secret") as socket:
            await Talker(socket).send({"type": "session", "session_id": "s"})
        header = {"Authorization": "Bearer secret"}
        async with connect(server.ws_url, additional_headers=header):
            pass
        assert (await fetch(server.url, "/metrics")).status == 401
        assert (await fetch(server.url, "/metrics", **header)).status == 200
        assert (await fetch(server.url, "/health")).status == 200


@in_loop
async def test_nobody_is_let_in_before_the_models_are_ready() -> None:
    gate = threading.Event()

    def make(given: Settings, deliver: Deliver) -> FakeEngine:
        return FakeEngine(given, deliver, gate=gate)

    service = Service(settings(), make)
    server = await service._listen()
    url = service._url(server)
    starting = asyncio.create_task(service._start_engine())
    assert (await fetch(url, "/health")).status == 200
    waiting = await fetch(url, "/ready")
    assert (waiting.status, waiting.headers["Retry-After"]) == (503, "2")
    assert await refused(url.replace("http", "ws") + "/ws/audio") == 503
    gate.set()
    assert await starting
    async with connect(url.replace("http", "ws") + "/ws/audio"):
        pass
    server.close()
    await server.wait_closed()


@in_loop
async def test_a_model_that_cannot_be_loaded_ends_the_start() -> None:
    with pytest.raises(ModelError, match="no such model"):
        async with running(start_error="no such model"):
            pass


@in_loop
async def test_a_port_in_use_is_told() -> None:
    async with running() as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with running({"port": port}):
                pass


@in_loop
async def test_draining_lets_the_reply_finish_and_refuses_new_sessions() -> None:
    async with running(holds=["llm"]) as server:
        async with server.talk(session_id="busy", audio=RAW) as busy, server.talk() as idle:
            await busy.send(chunk(pcm_s16le(100)), END)
            await eventually(lambda: len(server.engine.requests) == 1)
            server.service.stop()
            assert (await idle.close_code())[0] == 1001
            assert await refused(server.ws_url) == 503
            assert json.loads((await fetch(server.url, "/ready")).text) == {
                "ready": False,
                "reason": "The server is stopping.",
            }
            server.engine.reply(server.engine.requests[0])
            assert (await busy.until("segment_processed"))[-2]["response"]
            assert await busy.close_code() == (1001, "the server is stopping")
        await server.task
        assert server.engine.open_keys == []


@in_loop
async def test_draining_does_not_wait_for_ever() -> None:
    async with running({"drain_timeout_s": 0.05}, holds=["llm"]) as server:
        async with server.talk(audio=RAW) as client:
            await client.send(chunk(pcm_s16le(100)), END)
            await eventually(lambda: len(server.engine.requests) == 1)
            server.service.stop()
            assert (await client.close_code())[0] == 1001
        await server.task


@in_loop
async def test_a_dead_engine_ends_the_server_once_what_can_be_finished_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.service._WATCH_S", 0.01)
    death = pytest.raises(AntiphonError, match="the engine has died: no room")
    with death:
        async with running(holds=["llm"]) as server, server.talk(audio=RAW) as talker:
            await talker.send(chunk(pcm_s16le(9)), END)
            await eventually(lambda: bool(server.engine.requests))
            server.engine.die("no room")
            await eventually(lambda: server.service._hub.draining)
            server.engine.reply(server.engine.requests[0])
            bodies = await talker.until("segment_processed")
            assert bodies[-2]["response"] == "You said 9 samples."
            assert (await talker.close_code())[0] == 1001


@in_loop
async def test_a_problem_that_may_pass_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.service._WATCH_S", 0.001)
    async with running() as server:
        server.engine.ready, server.engine.problem = False, "the other server is away"
        done, _ = await asyncio.wait([server.task], timeout=0.05)
        assert not done
        server.engine.ready, server.engine.problem = True, None
        async with server.talk():
            pass


@in_loop
async def test_tls(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(cert)]
    await asyncio.to_thread(
        subprocess.run, [*command.split(), *subject, *files], check=True, capture_output=True
    )
    async with running({"tls_cert": cert, "tls_key": key}) as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=cert)
        async with server.talk(audio=RAW, ssl_context=context) as client:
            await client.send(chunk(pcm_s16le(100)), END)
            assert (await client.until("segment_processed"))[-2]["response"]


@in_loop
async def test_a_certificate_that_is_none_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    with pytest.raises(ConfigError, match="cannot use the certificate"):
        async with running({"tls_cert": broken, "tls_key": broken}):
            pass


@in_loop
async def test_ready_says_what_does_not_work_though_conversations_begin() -> None:
    async with running() as server:
        server.engine.degraded = "the language model's server cannot be reached"
        ready = await fetch(server.url, "/ready")
        assert ready.status == 200
        assert json.loads(ready.text)["degraded"] == server.engine.degraded
