"""Who is connected: the engine's events find their connection, and a session id has one owner.

Lives on the event loop's thread; only ``deliver`` may be called from another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from engine.client import EngineClient
from engine.errors import Overloaded
from engine.types import Event, SessionOptions
from server.config import Settings
from server.conversations import Conversation, Conversations
from server.metrics import CONNECTIONS, CONVERSATIONS

NOT_READY_RETRY_MS = 2000

log = logging.getLogger("antiphon.hub")


class Listener(Protocol):
    """What the hub asks of a connection."""

    def on_event(self, event: Event) -> None: ...

    def fail(self, error: Exception) -> None:
        """``error`` came out of one of the other methods: release the session, then close."""
        ...

    def release(self) -> None:
        """Give the session up: it opens another one."""
        ...

    def displace(self) -> None:
        """A newer connection takes the session: release it now, then close."""
        ...

    def drain(self) -> None:
        """Close as soon as every reply that is under way has been sent."""
        ...


@dataclass(frozen=True, slots=True)
class _Owner:
    """Who has a session id open, and as which key."""

    listener: Listener
    key: int


class Hub:
    """Connections, and the sessions that they own. ``engine`` is None until it is built."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine: EngineClient | None = None
        self.draining = False
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[int | None, Listener] = {}
        self._owners: dict[str, _Owner] = {}
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
                self._isolated(listener, partial(listener.on_event, event))

    def _isolated(self, listener: Listener, call: Callable[[], None]) -> None:
        """Run ``call`` of ``listener``; what it raises is that connection's alone."""
        try:
            call()
        except Exception as error:  # noqa: BLE001 - the listener logs it
            try:
                listener.fail(error)
            except Exception:
                log.exception("a connection failed, and then failed to close")

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
        self,
        session_id: str,
        options: SessionOptions,
        listener: Listener,
        held: int | None = None,
    ) -> tuple[int, Conversation]:
        """Give ``listener`` a slot and the conversation of ``session_id``.

        ``held`` is the key of the session that the listener has open itself. Where there is one,
        or another connection owns the id, that slot is passed on, which is no new admission: it
        is never refused. Only then do they lose the session.

        Raises:
            Overloaded: there is no slot, or no session can begin now; nobody has lost anything.
        """
        assert self.engine is not None, "connections are accepted when the engine is ready"
        owner = self._owners.get(session_id)
        if held is None and owner is not None:
            held = owner.key
        if held is not None:
            key = self.engine.reopen(held, options)
        elif (problem := self.problem) is not None:
            raise Overloaded(problem, NOT_READY_RETRY_MS)
        else:
            key = self.engine.open(options)
        if self._listeners.get(held) is listener:
            self._isolated(listener, listener.release)
        if owner is not None and owner.listener is not listener:
            self._isolated(owner.listener, owner.listener.displace)
        self._listeners[key] = listener
        self._owners[session_id] = _Owner(listener, key)
        return key, self._conversations.take(session_id, time.monotonic())

    def release(self, session_id: str, key: int, conversation: Conversation) -> None:
        assert self.engine is not None
        del self._listeners[key]
        if self._owners[session_id].key == key:
            del self._owners[session_id]
        self.engine.close_session(key)
        self._conversations.give_back(session_id, conversation, time.monotonic())
        CONVERSATIONS.set(len(self._conversations))

    async def drain(self, timeout_s: float) -> bool:
        """No new sessions; wait for the replies under way. False if they took too long."""
        self.draining = True
        for connection in list(self._connections):
            self._isolated(connection, connection.drain)
        try:
            async with asyncio.timeout(timeout_s):
                await self._nobody.wait()
        except TimeoutError:
            return False
        return True
