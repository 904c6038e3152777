"""A real server with the real models, as a process, for tests that talk to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server.process import ServerProcess


@pytest.fixture(scope="session")
def server(whisper_base: object, smollm2: object) -> Iterator[ServerProcess]:
    """Whisper base and SmolLM2, default settings."""
    process = ServerProcess()
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def echo_server(whisper_base: object) -> Iterator[ServerProcess]:
    """Whisper base; replies repeat the transcript."""
    process = ServerProcess()
    process.start(["--llm", "echo"])
    yield process
    process.stop()
