"""The process: its line on standard output, its log, its signals and its exit status."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import END, RAW, Body, chunk, in_loop, pcm_s16le
from websockets.asyncio.client import connect

from server import app

SCRIPT = Path(__file__).with_name("served.py")
ROOT = SCRIPT.parents[2]
LINE = "Antiphon is listening on "


@contextmanager
def process(**given: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(SCRIPT), json.dumps({"port": 0} | given)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=pipe, stderr=pipe, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def address(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line.startswith(LINE), line
    return line.removeprefix(LINE).strip()


async def ask(url: str, then: signal.Signals, child: subprocess.Popen[str]) -> list[Body]:
    """Ask something, send a signal while the answer is awaited, and read to the end."""
    async with connect(url.replace("http", "ws") + "/ws/audio") as client:
        for body in ({"type": "session", "session_id": "s", "audio": RAW}, chunk(pcm_s16le(9))):
            await client.send(json.dumps(body))
            await client.recv()
        await client.send(json.dumps(END))
        child.send_signal(then)
        bodies = [json.loads(frame) async for frame in client]
        assert client.close_code == 1001
        return bodies


@in_loop
async def test_it_says_where_it_listens_and_a_signal_drains_it() -> None:
    with process() as child:
        url = await asyncio.to_thread(address, child)
        assert url.startswith("http://127.0.0.1:")
        bodies = await ask(url, signal.SIGTERM, child)
        assert [body["type"] for body in bodies] in (
            ["chatbot_response", "segment_processed"],
            [],  # the signal came before the segment's end had been read
        )
        _, log = await asyncio.to_thread(child.communicate)
        assert child.returncode == 0
        assert "session 's' opened" in log
        assert "stopped" in log


def test_a_second_signal_stops_it_at_once() -> None:
    with process(fake={"holds": ["llm"]}, drain_timeout_s=600) as child:
        url = address(child)

        async def body() -> None:
            async with connect(url.replace("http", "ws") + "/ws/audio") as client:
                for body in ({"type": "session", "session_id": "s", "audio": RAW}, END):
                    await client.send(json.dumps(body))
                await client.recv()
                await client.recv()
                await client.send(json.dumps(chunk(pcm_s16le(9))))
                await client.send(json.dumps(END))
                await client.recv()
                await client.recv()
                child.send_signal(signal.SIGINT)
                assert child.stderr is not None
                while "replies in flight" not in await asyncio.to_thread(child.stderr.readline):
                    pass
                child.send_signal(signal.SIGINT)
                assert await asyncio.to_thread(child.wait, 10) == 1

        asyncio.run(asyncio.wait_for(body(), 20))


def test_what_cannot_be_started_is_told_in_one_line() -> None:
    with process(fake={"start_error": "the model nonsense is not known"}) as child:
        out, log = child.communicate(timeout=20)
        assert (child.returncode, out) == (1, "")
        assert log.splitlines()[-1].endswith("antiphon: the model nonsense is not known")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process(port=port) as child:
            _, log = child.communicate(timeout=20)
            assert child.returncode == 1
            assert f"cannot listen on 127.0.0.1:{port}" in log
            assert "Traceback" not in log


def test_a_dead_engine_ends_the_process_with_a_status_that_says_so() -> None:
    with process(fake={"dies": "the speech lane stopped: no room"}) as child:
        address(child)
        _, log = child.communicate(timeout=20)
        assert child.returncode == 1
        assert "the engine has died: the speech lane stopped: no room" in log.splitlines()[-1]
        assert "Traceback" not in log


def test_a_signal_while_the_models_load_is_obeyed() -> None:
    with process(fake={"start_seconds": 60}) as child:
        assert child.stderr is not None
        while "loading the models" not in child.stderr.readline():
            pass
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0  # long before the models would be there


def test_the_environment_is_set_before_numpy_is_imported() -> None:
    script = (
        "import sys, server.app; assert 'numpy' not in sys.modules;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_what_was_loaded_is_kept_from_the_garbage_collector(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A full collection with the models' libraries in place would hold the event loop up."""
    try:
        app._announce("http://127.0.0.1:1")
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()
    assert capsys.readouterr().out == f"{LINE}http://127.0.0.1:1\n"
