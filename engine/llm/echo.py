"""A language model that repeats what it was told: for tests, and to load the speech path alone."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from engine.types import GenerateRequest, LlmEvent, ResponseDelta

_WORD = re.compile(r"\s*\S+|\s+\Z")


@dataclass(slots=True)
class _Reply:
    request: GenerateRequest
    words: deque[str] = field(init=False)
    cut: bool = field(init=False)

    def __post_init__(self) -> None:
        words = _WORD.findall(self.request.messages[-1].content)
        self.words = deque(words[: self.request.max_tokens])
        self.cut = len(words) > self.request.max_tokens


class Echo:
    """An ``LlmBackend`` that says the last message again, one word of each reply a step."""

    name = "echo"

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._replies: dict[tuple[int, int], _Reply] = {}
        self._cancelled: list[LlmEvent] = []

    @property
    def free(self) -> int:
        return self._slots - len(self._replies)

    @property
    def problem(self) -> str | None:
        return None

    @property
    def busy(self) -> bool:
        return bool(self._replies or self._cancelled)

    def submit(self, request: GenerateRequest) -> None:
        self._replies[request.key, request.turn_id] = _Reply(request)

    def cancel(self, key: int, turn_id: int) -> None:
        if self._replies.pop((key, turn_id), None):
            self._cancelled.append(ResponseDelta(key, turn_id, "", "cancelled"))

    def forget(self, key: int) -> None:
        """Nothing is kept of a session between its requests."""

    def step(self) -> list[LlmEvent]:
        events, self._cancelled = self._cancelled, []
        for (key, turn_id), reply in list(self._replies.items()):
            if reply.words:
                events.append(ResponseDelta(key, turn_id, reply.words.popleft()))
            else:
                events.append(ResponseDelta(key, turn_id, "", "length" if reply.cut else "stop"))
                del self._replies[key, turn_id]
        return events

    def warmup(self) -> None:
        """There is nothing to warm."""

    def close(self) -> None:
        self._replies.clear()
