"""What a client sees: a real server with the default models, real sockets, real time."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.crowd import Background, crowd, crowd_around, percentiles
from server.client import Client
from server.process import ServerProcess


def memory_mb(pid: int) -> dict[str, float]:
    """Resident memory of a process, now and at its highest."""
    status = Path(f"/proc/{pid}/status").read_text()
    kib = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status))
    return {"rss_mb": int(kib["VmRSS"]) / 1024, "rss_peak_mb": int(kib["VmHWM"]) / 1024}


@pytest.fixture
def fresh_servers() -> Iterator[list[ServerProcess]]:
    servers: list[ServerProcess] = []
    yield servers
    for server in servers:
        server.stop()


def test_ready_after_start(benchmark: BenchmarkFixture, fresh_servers: list[ServerProcess]) -> None:
    """From the command to a server that says it is ready, models loaded and warm."""

    def start() -> None:
        fresh_servers.append(ServerProcess())
        url = fresh_servers[-1].start()
        assert urllib.request.urlopen(f"{url}/ready").status == 200

    def stop() -> None:
        if fresh_servers:
            fresh_servers.pop().stop()

    benchmark.pedantic(start, setup=stop, rounds=3)
    benchmark.extra_info.update(memory_mb(fresh_servers[-1].pid))


@pytest.mark.parametrize("streaming", [0, 8])
def test_handshake(
    benchmark: BenchmarkFixture,
    server: ServerProcess,
    background: Background,
    utterance: bytes,
    streaming: int,
) -> None:
    """From connecting to ``session_ack``, alone and beside sessions that stream."""
    clients: list[Client] = []

    def connect() -> None:
        clients.append(background.run(Client.connect(server.ws_url)))

    def pause() -> None:
        if clients:
            background.run(clients[-1].close())
        background.run(asyncio.sleep(0.05))  # twenty a second, not as many as can be

    with background.around(crowd_around(server.ws_url, utterance, streaming)):
        benchmark.pedantic(connect, setup=pause, rounds=100)
        pause()
    times_ms = [client.handshake_ms for client in clients]
    benchmark.extra_info.update(percentiles("handshake", times_ms))


@pytest.mark.parametrize("speakers", [1, 8])
def test_conversation(
    benchmark: BenchmarkFixture,
    server: ServerProcess,
    background: Background,
    utterance: bytes,
    speakers: int,
) -> None:
    """Speakers say five seconds in real time, three times each.

    Measured: each chunk's acknowledgement, and from ``segment_end`` to the final transcript, the
    reply's first piece and its end.
    """
    talk = crowd(server.ws_url, utterance, speakers, turns=3)
    people = benchmark.pedantic(lambda: background.run(talk), rounds=1)
    for name in ("ack", "transcript", "first_token", "reply"):
        values = list(chain.from_iterable(getattr(one, f"{name}_ms") for one in people))
        benchmark.extra_info.update(percentiles(name, values))
    benchmark.extra_info.update(memory_mb(server.pid))
