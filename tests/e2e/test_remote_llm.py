"""A conversation whose replies come from another server, until that is killed."""

from __future__ import annotations

import asyncio
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from http_llama import KEY, HttpLlama
from turns import WAIT_S, answer, ask

from server.client import Client, Message
from server.demo import QUESTION
from server.process import ServerProcess

pytestmark = pytest.mark.models


async def talk(server: ServerProcess, llm: HttpLlama) -> list[Message]:
    """Two turns; the other server is killed between them."""
    async with await Client.connect(server.ws_url, events=["timings"]) as client:
        first = answer(await ask(client, QUESTION.read_bytes()))
        llm.kill()
        return [first, answer(await ask(client, QUESTION.read_bytes()))]


def ready(server: ServerProcess) -> int:
    try:
        return int(urllib.request.urlopen(f"{server.url}/ready").status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_remote_server_answers_and_its_end_is_told(whisper_tiny: Path, smollm2: Path) -> None:
    llm = HttpLlama(smollm2)
    log: list[str] = []
    with ServerProcess(log.append) as server:
        args = ["--asr-model", "tiny.en", "--llm", "openai", "--llm-url", llm.url]
        server.start(args, env={**os.environ, "ANTIPHON_LLM_KEY": KEY})
        assert ready(server) == 200
        first, second = asyncio.run(talk(server, llm))
        assert "Paris" in first["response"]
        assert first["backend_used"] == "openai/SmolLM2-135M-Instruct.Q4_1"
        assert second["error_code"] == "llm_failed"
        assert second["transcription"] == first["transcription"]
        give_up_at = time.monotonic() + WAIT_S
        while ready(server) == 200:
            assert time.monotonic() < give_up_at
    assert not [line for line in log if KEY in line]
