"""Queues of device work: streams, events and transfers that nobody waits for.

A queue runs what is put into it in order, beside other queues and beside the host. ``CudaQueue``
is a CUDA stream. What is built on queues is tested on a CPU with a queue whose events are done
when the test says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

_WARM_UPS = 2
_capturing = threading.Lock()  # one capture at a time in a process


class Event(Protocol):
    """A place in a queue. Either call raises ``RuntimeError`` where the device has failed."""

    def query(self) -> bool:
        """Whether all work before it is done; never waits."""
        ...

    def synchronize(self) -> None:
        """Wait for it."""
        ...


class Graph(Protocol):
    """Work that was captured once; its tensors stay where they were."""

    def replay(self) -> None: ...


class Queue(Protocol):
    """Work done in order. Used by one thread."""

    def open(self) -> AbstractContextManager[None]:
        """Device work of the ``with`` block goes into this queue."""
        ...

    def mark(self) -> Event:
        """An event after everything put in so far."""
        ...

    def adopt(self, tensor: Tensor, made: Event) -> None:
        """What is put in later may read ``tensor``, which another queue had made by ``made``."""
        ...

    def capture(self, work: Callable[[], None]) -> Graph:
        """Run ``work`` and keep it for replay; it must not read anything back to the host."""
        ...


class Queues(NamedTuple):
    """The two of a speech model: a long encode does not hold up the decoder's tokens."""

    encoder: Queue
    decoder: Queue


class CudaQueue:
    """A CUDA stream that begins after what its maker has queued. ``urgent`` work goes first.

    It never waits for the default stream again, where other libraries of this process may work.
    Its events let a waiting thread sleep; its graphs share one pool of memory, since they are
    replayed one after another and leave results only in tensors that existed before them.
    """

    def __init__(self, device: torch.device, *, urgent: bool) -> None:
        self._stream = torch.cuda.Stream(device, priority=-1 if urgent else 0)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(device))
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def open(self) -> Iterator[None]:
        with torch.cuda.stream(self._stream):
            yield

    def mark(self) -> Event:
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def adopt(self, tensor: Tensor, made: Event) -> None:
        assert isinstance(made, torch.cuda.Event)
        self._stream.wait_event(made)
        tensor.record_stream(self._stream)

    def capture(self, work: Callable[[], None]) -> Graph:
        """As torch's documentation has it: warm up on a side stream, then record.

        Calls that a capture forbids fail in this thread only, so that others may go on.
        """
        graph = torch.cuda.CUDAGraph()
        with _capturing:
            with self.open():
                for _ in range(_WARM_UPS):
                    work()
            self._stream.synchronize()
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                work()
        return graph


def host_room(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros on the host for transfers from and to ``device``: pinned where that makes a
    difference."""
    return torch.zeros(shape, dtype=dtype, pin_memory=device.type == "cuda")


def send(host: Tensor, device: torch.device) -> Tensor:
    """``host`` on ``device``, without waiting: a GPU takes it from a pinned copy."""
    if device.type != "cuda":
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)


def fetch(tensor: Tensor) -> Tensor:
    """``tensor`` on the host, without waiting: whole once an event marked from now on is done."""
    room = host_room(tuple(tensor.shape), tensor.dtype, tensor.device)
    return room.copy_(tensor, non_blocking=True)
