"""What was said, by session id, and kept for a while after a socket is gone.

A conversation that is in use belongs to its session; only idle ones are kept here, the least
recently used first, bounded in number and in age.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from engine.types import Message


@dataclass(frozen=True, slots=True)
class Exchange:
    """One turn. ``assistant`` is empty where the reply failed, was blank or cut off at once."""

    user: str
    assistant: str


class Conversation:
    """The last turns of one session id; the oldest leave."""

    def __init__(self, max_turns: int) -> None:
        self._exchanges: deque[Exchange] = deque(maxlen=max_turns)

    def __len__(self) -> int:
        return len(self._exchanges)

    def add(self, user: str, assistant: str) -> None:
        """Keep a turn; a blank reply as none, because some servers refuse a prompt with one."""
        self._exchanges.append(Exchange(user, assistant if assistant.strip() else ""))

    def prompt(self, system: str, user: str) -> tuple[Message, ...]:
        """The messages for a reply to ``user``.

        Chat templates want user and assistant to alternate, so words that got no reply are
        joined with the words that follow them.
        """
        messages = [Message("system", system)] if system else []
        waiting: list[str] = []
        for exchange in self._exchanges:
            waiting.append(exchange.user)
            if exchange.assistant:
                messages.append(Message("user", "\n".join(waiting)))
                messages.append(Message("assistant", exchange.assistant))
                waiting = []
        return (*messages, Message("user", "\n".join([*waiting, user])))


class Conversations:
    """Idle conversations. Times are seconds of any monotonic clock."""

    def __init__(self, max_conversations: int, memory_s: float, max_turns: int) -> None:
        self._max = max_conversations
        self._memory_s = memory_s
        self._max_turns = max_turns
        self._idle: OrderedDict[str, tuple[float, Conversation]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, session_id: str, now: float) -> Conversation:
        """Hand over the conversation of ``session_id``, or a new one."""
        self._forget(now)
        _, conversation = self._idle.pop(session_id, (now, Conversation(self._max_turns)))
        return conversation

    def give_back(self, session_id: str, conversation: Conversation, now: float) -> None:
        """Keep a conversation that is no longer in use."""
        self._forget(now)
        if len(conversation):
            self._idle[session_id] = (now, conversation)
        while len(self._idle) > self._max:
            self._idle.popitem(last=False)

    def _forget(self, now: float) -> None:
        while self._idle:
            left_at, _ = next(iter(self._idle.values()))
            if now - left_at < self._memory_s:
                return
            self._idle.popitem(last=False)
