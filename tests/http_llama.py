"""llama.cpp's own HTTP server as a process, for tests of what asks such servers.

As a script, `python http_llama.py MODEL KEY` prints its address and serves until its input ends.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KEY = "sk-for-the-tests"


class HttpLlama:
    """A server on the loopback that wants ``KEY``; each of its four slots holds 1024 tokens."""

    def __init__(self, model: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(model), KEY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def main(model: str, key: str) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_parallel, params.n_ctx, params.n_gpu_layers = 4, 4 * 1024, 0
    params.cache_ram_mib, params.fit_params = 0, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    params.hostnames, params.port, params.n_threads_http = ["127.0.0.1"], 0, 8
    params.api_keys, params.verbosity = [key], 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
