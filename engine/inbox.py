"""A bounded queue with many writers and one reader, read in bulk."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Commands for one lane's thread.

    ``put`` never waits: it says no when full, and the caller decides what that means.
    ``wake`` makes a waiting ``drain`` return empty-handed, for results that come by other ways.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: list[T] = []
        self._places: dict[Hashable, int] = {}  # of items that newer ones may replace
        self._changed = threading.Condition()
        self._awake = False
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, item: T, *, force: bool = False, replaces: Hashable = None) -> bool:
        """Append ``item``; False if the inbox is full or closed.

        ``force`` skips the bound, for commands that free resources (cancel, close), and where the
        writers keep a bound of their own. An item that ``replaces`` something takes the place of
        the waiting item that was put with an equal value, if there is one.
        """
        with self._changed:
            if self._closed or (not force and len(self._items) >= self._capacity):
                return False
            place = self._places.get(replaces) if replaces is not None else None
            if place is not None:
                self._items[place] = item
                return True
            if replaces is not None:
                self._places[replaces] = len(self._items)
            self._items.append(item)
            self._changed.notify()
            return True

    def wake(self) -> None:
        with self._changed:
            self._awake = True
            self._changed.notify()

    def close(self) -> None:
        """No more puts; the reader drains what is left and then sees ``closed``."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def drain(self, timeout_s: float | None) -> list[T]:
        """Everything there is, waiting up to ``timeout_s`` (None: for ever) if there is nothing."""
        with self._changed:
            if not (self._items or self._awake or self._closed):
                self._changed.wait(timeout_s)
            self._awake = False
            items, self._items = self._items, []
            self._places.clear()
            return items
