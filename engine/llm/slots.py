"""Which of a model's slots serves which session, so that its cached prefix is used again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Slot:
    owner: int | None = None
    taken: bool = False
    last_used: int = 0


class Slots:
    """A session gets its old slot where that is free, else one that is missed the least."""

    def __init__(self, count: int) -> None:
        self._slots = [_Slot() for _ in range(count)]
        self._uses = 0

    @property
    def free(self) -> int:
        return sum(not slot.taken for slot in self._slots)

    def take(self, key: int) -> tuple[int, bool]:
        """Index of a free slot for session ``key``, and whether the session was its last tenant.

        There must be a free one.
        """

        def misfit(index: int) -> tuple[bool, bool, int]:
            slot = self._slots[index]
            return slot.owner != key, slot.owner is not None, slot.last_used

        free = [index for index, slot in enumerate(self._slots) if not slot.taken]
        assert free, "no slot is free: ask `free` first"
        index = min(free, key=misfit)
        returning = self._slots[index].owner == key
        self._uses += 1
        self._slots[index] = _Slot(owner=key, taken=True, last_used=self._uses)
        return index, returning

    def give_back(self, index: int) -> None:
        """The slot may serve others; what it has cached stays its session's."""
        assert self._slots[index].taken
        self._slots[index].taken = False

    def forget(self, key: int) -> None:
        """The session has gone: its slots are nobody's."""
        for slot in self._slots:
            if slot.owner == key:
                slot.owner = None
