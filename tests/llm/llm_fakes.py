"""A language model under the test's control, and a way to talk to a real one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.llm.backend import LlmBackend, Wake
from engine.types import Failure, GenerateRequest, LlmEvent, Message, ResponseDelta

PATIENCE_S = 60.0


def request(key: int, turn_id: int = 0, text: str = "hello", max_tokens: int = 32):
    return GenerateRequest(key, turn_id, (Message("user", text),), max_tokens)


def is_ending(event: LlmEvent) -> bool:
    return isinstance(event, Failure) or event.finish_reason is not None


class FakeLlm:
    """An ``LlmBackend`` that says what the test puts into ``says``, and ends what is cancelled."""

    name = "fake"
    busy = False
    problem: str | None = None

    def __init__(self, slots: int = 2) -> None:
        self.slots = slots
        self.running: list[tuple[int, int]] = []
        self.begun: list[tuple[int, int]] = []
        self.lengths: dict[tuple[int, int], list[int]] = {}  # `max_tokens` as submitted
        self.forgotten: list[int] = []
        self.says: deque[LlmEvent] = deque()
        self.refuse: Exception | None = None
        self.broken: Exception | None = None
        self.deaf = False
        self.closed = False
        self.wake: Wake = lambda: None

    @property
    def free(self) -> int:
        return self.slots - len(self.running)

    def submit(self, request: GenerateRequest) -> None:
        if self.refuse is not None:
            raise self.refuse
        assert self.free
        self.running.append((request.key, request.turn_id))
        self.begun.append((request.key, request.turn_id))
        self.lengths.setdefault(self.begun[-1], []).append(request.max_tokens)
        self.wake()

    def cancel(self, key: int, turn_id: int) -> None:
        if (key, turn_id) in self.running and not self.deaf:
            self.says.append(ResponseDelta(key, turn_id, "", "cancelled"))
            self.wake()

    def forget(self, key: int) -> None:
        self.forgotten.append(key)

    def step(self) -> list[LlmEvent]:
        if self.broken is not None:
            raise self.broken
        events = list(self.says)
        self.says.clear()
        for event in events:
            if is_ending(event) and (event.key, event.turn_id) in self.running:
                self.running.remove((event.key, event.turn_id))
        return events

    def warmup(self) -> None:
        if self.broken is not None:
            raise self.broken

    def close(self) -> None:
        self.closed = True


@dataclass
class Reply:
    pieces: list[str] = field(default_factory=list)
    ending: LlmEvent | None = None
    endings: int = 0

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def reason(self) -> str | None:
        return self.ending.finish_reason if isinstance(self.ending, ResponseDelta) else None


class Talk:
    """Steps a backend until its replies have ended, as the lane would."""

    def __init__(self, backend: LlmBackend, news: threading.Event) -> None:
        self.backend = backend
        self._news = news
        self._keys = 0

    def new_key(self) -> int:
        self._keys += 1
        return self._keys

    def ask(self, *requests: GenerateRequest) -> list[Reply]:
        for asked in requests:
            self.backend.submit(asked)
        replies = self.run_until(lambda replies: len(replies) == len(requests) and _over(replies))
        return [replies[asked.key, asked.turn_id] for asked in requests]

    def run_until(
        self, done: Callable[[dict[tuple[int, int], Reply]], bool]
    ) -> dict[tuple[int, int], Reply]:
        replies: dict[tuple[int, int], Reply] = {}
        give_up_at = time.monotonic() + PATIENCE_S
        while not done(replies):
            assert self._news.wait(give_up_at - time.monotonic()), "the model fell silent"
            self._news.clear()
            for event in self.backend.step():
                _take(replies.setdefault((event.key, event.turn_id), Reply()), event)
        return replies


def _take(reply: Reply, event: LlmEvent) -> None:
    if isinstance(event, ResponseDelta) and event.text:
        reply.pieces.append(event.text)
    if is_ending(event):
        reply.ending = event
        reply.endings += 1


def _over(replies: dict[tuple[int, int], Reply]) -> bool:
    return all(reply.ending is not None for reply in replies.values())
