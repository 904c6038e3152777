"""llama.cpp's own HTTP server as a process: `python http_llama.py MODEL KEY` prints its address."""

from __future__ import annotations

import sys

import xllamacpp


def main(model: str, key: str) -> None:
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
    sys.stdin.read()  # until the test has had enough


if __name__ == "__main__":
    main(*sys.argv[1:])
