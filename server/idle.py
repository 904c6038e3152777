"""When a connection has been quiet for too long: the rule (pure), and the timer that asks it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Idle:
    """Why a connection is to be closed: ``code`` and ``message`` of its final error."""

    code: str
    message: str


class IdleWatch:
    """Pings are no sign of life: a tab that was forgotten answers them as well.

    ``session_timeout_s`` is how long a connection may be without a session, whatever else it
    sends; ``idle_timeout_s`` how long a session may send nothing. 0 turns either off.
    """

    def __init__(self, session_timeout_s: float, idle_timeout_s: float, now: float) -> None:
        self._session_timeout_s = session_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._without_session_since = now
        self._active_at = now

    def note(self, now: float) -> None:
        """The client sent something, or something was done for it."""
        self._active_at = now

    def check(self, now: float, has_session: bool, is_busy: bool) -> Idle | float | None:
        """Why to close now, or else in how many seconds to check again (None: never).

        ``is_busy``: a turn is not answered yet, or what was sent is still being taken in.
        """
        if is_busy:
            self._active_at = now
        if has_session:
            self._without_session_since = now
            limit_s, since = self._idle_timeout_s, self._active_at
        else:
            limit_s, since = self._session_timeout_s, self._without_session_since
        waits_s = [since + limit_s - now] if limit_s else []
        if waits_s and waits_s[0] <= 0:
            return self._idle(has_session, limit_s)
        if not has_session and self._idle_timeout_s:
            waits_s.append(self._idle_timeout_s)  # a session may begin, with a limit of its own
        return min(waits_s, default=None)

    def _idle(self, has_session: bool, limit_s: float) -> Idle:
        if has_session:
            return Idle("idle", f"Nothing was sent for {limit_s:g} s.")
        return Idle("session_required", f'No "session" was sent for {limit_s:g} s.')


class IdleTimer:
    """Asks an ``IdleWatch`` when it is time to; then calls ``close`` once."""

    def __init__(
        self,
        watch: IdleWatch,
        state: Callable[[], tuple[bool, bool]],
        close: Callable[[Idle], None],
    ) -> None:
        """``state`` tells whether there is a session, and whether it is busy."""
        self._watch = watch
        self._state = state
        self._close = close
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        match self._watch.check(time.monotonic(), *self._state()):
            case Idle() as idle:
                self._close(idle)
            case float(delay_s):
                self._timer = asyncio.get_running_loop().call_later(delay_s, self.start)

    def note(self) -> None:
        self._watch.note(time.monotonic())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
