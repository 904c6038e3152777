"""A queue on a CPU: work runs at once, and events are done when somebody waited or the test says
so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from kernels.queues import Graph, Queues


@dataclass(eq=False)
class FakeEvent:
    queue: FakeQueue
    is_done: bool

    def query(self) -> bool:
        return self.is_done

    def synchronize(self) -> None:
        self.queue.waits += not self.is_done
        self.complete()

    def complete(self) -> None:
        """What a queue did before is done as well."""
        for event in self.queue.events[: self.queue.events.index(self) + 1]:
            event.is_done = True


@dataclass(eq=False)
class FakeGraph:
    """The captured work, done again over the same buffers."""

    work: Callable[[], None]
    replays: int = 0

    def replay(self) -> None:
        self.replays += 1
        self.work()


@dataclass(eq=False)
class FakeQueue:
    """``quick``: events are done as soon as they are marked. ``waits`` counts when the host had
    to wait for one that was not."""

    quick: bool = False
    waits: int = 0
    events: list[FakeEvent] = field(default_factory=list)
    graphs: list[FakeGraph] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[None]:
        yield

    def mark(self) -> FakeEvent:
        self.events.append(FakeEvent(self, self.quick))
        return self.events[-1]

    def adopt(self, tensor: Tensor, made: FakeEvent) -> None:
        """Here everything is made as soon as it is asked for."""

    def capture(self, work: Callable[[], None]) -> Graph:
        work()
        self.graphs.append(FakeGraph(work))
        return self.graphs[-1]


def fake_queues() -> Queues:
    """An encoder that is done at once, and a decoder that is waited for."""
    return Queues(FakeQueue(quick=True), FakeQueue())
