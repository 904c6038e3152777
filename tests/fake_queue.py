"""A queue on a CPU: work runs at once, and events are done when the test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from kernels.queues import Graph, Queues


@dataclass
class FakeEvent:
    """Done at once, unless its queue is ``held``; waiting for it lets it be done."""

    queue: FakeQueue
    is_done: bool

    def query(self) -> bool:
        return self.is_done

    def synchronize(self) -> None:
        self.queue.waits += 1
        self.is_done = True


@dataclass
class FakeGraph:
    """The captured work, done again over the same buffers."""

    work: Callable[[], None]
    replays: int = 0

    def replay(self) -> None:
        self.replays += 1
        self.work()


@dataclass
class FakeQueue:
    """``held`` queues mark events that stay undone; ``waits`` counts what the host waited for."""

    held: bool = False
    waits: int = 0
    depth: int = 0
    events: list[FakeEvent] = field(default_factory=list)
    graphs: list[FakeGraph] = field(default_factory=list)
    adopted: list[FakeEvent] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[None]:
        self.depth += 1
        yield
        self.depth -= 1

    def mark(self) -> FakeEvent:
        self.events.append(FakeEvent(self, not self.held))
        return self.events[-1]

    def adopt(self, tensor: Tensor, made: FakeEvent) -> None:
        assert made.is_done or self.held, "read before it was made"
        self.adopted.append(made)

    def capture(self, work: Callable[[], None]) -> Graph:
        work()
        self.graphs.append(FakeGraph(work))
        return self.graphs[-1]


def fake_queues() -> Queues:
    return Queues(FakeQueue(), FakeQueue())
