"""A backend that asks a misbehaving server, and what its tests ask of it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

from bad_server import BadServer, Behaviour
from llm_fakes import Reply as Said
from llm_fakes import Talk, request
from prometheus_client import REGISTRY

from engine.config import EngineSettings
from engine.llm.openai import OpenAi
from engine.llm.openai_http import AttemptFailed, OpenAiHttp
from engine.llm.openai_reply import Reply
from engine.types import Failure, GenerateRequest, Message

KEY = "sk-very-secret"


class Bench:
    """A misbehaving server and a backend that asks it."""

    def __init__(self, server: BadServer, **settings: object) -> None:
        self.server = server
        values = {"llm": "openai", "llm_url": server.url, "llm_model": "m", "llm_retries": 1}
        self.settings = EngineSettings.model_validate(values | settings)
        news = threading.Event()
        self.backend = OpenAi(self.settings, KEY, news.set)
        self.talk = Talk(self.backend, news)

    def ask(self, *behaviours: Behaviour, messages: tuple[Message, ...] = ()) -> Said:
        self.server.behaviours.extend(behaviours)
        asked = request(self.talk.new_key())
        if messages:
            asked = GenerateRequest(asked.key, 0, messages, 32)
        (reply,) = self.talk.ask(asked)
        assert not self.server.behaviours, "it was not asked as often as expected"
        assert reply.endings == 1
        return reply


def failure(reply: Said, code: str = "llm_failed") -> str:
    assert isinstance(reply.ending, Failure)
    assert reply.ending.code == code
    assert KEY not in reply.ending.message
    return reply.ending.message


def run_to_its_end(bad: BadServer, behaviour: Behaviour) -> None:
    """One reply with all that comes after its last piece."""
    bad.behaviours.append(behaviour)
    settings = EngineSettings(llm="openai", llm_url=bad.url, llm_retries=0)

    async def run() -> None:
        http = OpenAiHttp(settings, None)
        with suppress(AttemptFailed):
            await Reply(http, "m", request(1), settings, lambda _: None).run()
        await http.close()

    asyncio.run(run())


def tokens(kind: str) -> float:
    """How many of a kind were counted so far."""
    return REGISTRY.get_sample_value("antiphon_llm_tokens_total", {"kind": kind}) or 0.0
