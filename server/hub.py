"""Who is connected: the engine's events find their connection, and a session id has one owner.

Lives on the event loop's thread; only ``deliver`` may be called from another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from engine.client import EngineClient
from engine.types import Event, SessionOptions
from server.config import Settings
from server.conversations import Conversation, Conversations
from server.metrics import CONNECTIONS, CONVERSATIONS


class Listener(Protocol):
    """What the hub asks of a connection."""

    def on_event(self, event: Event) -> None: ...

    def displace(self) -> None:
        """A newer connection takes the session: release it now, then close."""
        ...

    def drain(self) -> None:
        """Close as soon as every reply that is under way has been sent."""
        ...


class Hub:
    """Connections, and the sessions that they own. ``engine`` is None until it is built."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine: EngineClient | None = None
        self.draining = False
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[int, Listener] = {}
        self._owners: dict[str, Listener] = {}
        self._connections: set[Listener] = set()
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._conversations = Conversations(
            settings.max_conversations, settings.session_memory_s, settings.max_history_turns
        )

    @property
    def problem(self) -> str | None:
        """Why no conversation can begin now, for people; None if one can."""
        if self.draining:
            return "The server is stopping."
        if self.engine is None:
            return "The models are being loaded."
        if self.engine.ready:
            return None
        return self.engine.problem or "The models are being loaded."

    # ---- events --------------------------------------------------------------------------

    def deliver(self, events: Sequence[Event]) -> None:
        """Carry a batch of events to the event loop; called from the lanes' threads."""
        self._loop.call_soon_threadsafe(self._dispatch, events)

    def _dispatch(self, events: Sequence[Event]) -> None:
        for event in events:
            listener = self._listeners.get(event.key)
            if listener is not None:
                listener.on_event(event)

    # ---- connections and sessions --------------------------------------------------------

    def enter(self, connection: Listener) -> None:
        self._connections.add(connection)
        self._nobody.clear()
        CONNECTIONS.set(len(self._connections))
        if self.draining:
            connection.drain()

    def leave(self, connection: Listener) -> None:
        self._connections.discard(connection)
        CONNECTIONS.set(len(self._connections))
        if not self._connections:
            self._nobody.set()

    def claim(
        self, session_id: str, options: SessionOptions, listener: Listener
    ) -> tuple[int, Conversation]:
        """Give ``listener`` a slot and the conversation of ``session_id``. Raises ``Overloaded``.

        Whoever had the session before loses it first, so that a client that comes back after a
        broken connection finds its slot free.
        """
        assert self.engine is not None, "connections are accepted when the engine is ready"
        previous = self._owners.get(session_id)
        if previous is not None:
            previous.displace()
        key = self.engine.open(options)
        self._listeners[key] = listener
        self._owners[session_id] = listener
        return key, self._conversations.take(session_id, time.monotonic())

    def release(self, session_id: str, key: int, conversation: Conversation) -> None:
        assert self.engine is not None
        self.engine.close_session(key)
        del self._listeners[key]
        del self._owners[session_id]
        self._conversations.give_back(session_id, conversation, time.monotonic())
        CONVERSATIONS.set(len(self._conversations))

    async def drain(self, timeout_s: float) -> bool:
        """No new sessions; wait for the replies under way. False if they took too long."""
        self.draining = True
        for connection in list(self._connections):
            connection.drain()
        try:
            async with asyncio.timeout(timeout_s):
                await self._nobody.wait()
        except TimeoutError:
            return False
        return True
