"""A peer's server as a child process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

from benchmarks.load.run import Server
from benchmarks.peers import environment, ggml
from benchmarks.peers.environment import PeerUnavailable
from benchmarks.peers.registry import HERE, OURS, Peer
from engine.models import resolve
from server.process import ServerProcess

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 10.0


@contextlib.contextmanager
def running(name: str, peer: Peer, model: str, threads: int) -> Iterator[Server]:
    """The server, listening; raises ``PeerUnavailable``."""
    if name == OURS:
        with ServerProcess() as process:
            process.start(
                ["--llm", "echo", "--asr-model", model, "--threads", str(threads)],
                env=_environment(threads),
            )
            yield Server(process.ws_url, name, http_url=process.url, pid=process.pid)
        return
    python = environment.python_of(peer)
    weights = resolve(model, "asr", environment.home().parent)
    if peer.ggml:
        weights = ggml.convert(weights, environment.home() / f"ggml-{model}.bin")
    port = _free_port()
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(
            [str(python), str(HERE / peer.script), "--model", str(weights), "--threads",
             str(threads), "--port", str(port), *peer.arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env=_environment(threads), cwd=tempfile.gettempdir(),
        )  # fmt: skip
        try:
            if not _listens(child, port):
                log.seek(0)
                raise PeerUnavailable(f"did not start: {log.read()[-500:].strip()}")
            yield Server(f"ws://127.0.0.1:{port}", name, peer.protocol, pid=child.pid,
                         acknowledges=peer.acknowledges, answers=peer.answers)  # fmt: skip
        finally:
            _stop(child)


def _environment(threads: int) -> dict[str, str]:
    """The same for all: so many threads, and threads that sleep while they wait."""
    quiet = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANTIPHON_", "PYTHON", "VIRTUAL_ENV"))
        or name in ("ANTIPHON_HOME", "ANTIPHON_SPEECH")
    }
    return quiet | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE",
                    "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(child: subprocess.Popen[bytes], port: int) -> bool:
    give_up = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < give_up and child.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return True
        except OSError:
            time.sleep(0.2)
    return False


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
