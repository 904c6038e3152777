"""Which segments have ended and have no answer yet: what is owed when a lane dies."""

from __future__ import annotations


class TurnLedger:
    """By session key: how many segments have ended, and which of them wait for an answer.

    It counts ends as sessions and slots do, so it knows what is owed whatever state a slot is in.
    """

    def __init__(self) -> None:
        self._ended: dict[int, int] = {}
        self._owed: dict[int, set[int]] = {}

    def open(self, key: int) -> None:
        self._ended[key], self._owed[key] = 0, set()

    def close(self, key: int) -> None:
        self._ended.pop(key, None)
        self._owed.pop(key, None)

    def end(self, key: int) -> int | None:
        """A segment has ended: its turn id. None if the session is closed."""
        if key not in self._ended:
            return None
        turn_id = self._ended[key]
        self._ended[key] += 1
        self._owed[key].add(turn_id)
        return turn_id

    def ended(self, key: int) -> int:
        """How many of the session's segments have ended: the turn id of the open one."""
        return self._ended.get(key, 0)

    def settle(self, key: int, turn_id: int) -> None:
        """The turn is answered, or cancelled: nothing is owed for it."""
        if key in self._owed:
            self._owed[key].discard(turn_id)

    def owed(self) -> list[tuple[int, int]]:
        return [(key, turn_id) for key, owed in self._owed.items() for turn_id in sorted(owed)]
