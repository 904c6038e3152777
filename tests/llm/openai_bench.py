"""A backend that asks a misbehaving server, and what its tests ask of it."""

from __future__ import annotations

import threading

from bad_server import BadServer, Behaviour
from llm_fakes import Reply as Said
from llm_fakes import Talk, request

from engine.config import EngineSettings
from engine.llm.openai import OpenAi
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
