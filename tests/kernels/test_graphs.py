"""Sizes, and replays over static buffers."""

from __future__ import annotations

import pytest
import torch
from fake_queue import FakeQueue
from hypothesis import given
from hypothesis import strategies as st

from kernels.graphs import Replays, bucket, buckets
from kernels.queues import CudaQueue, fetch, host_room, send

SIZE = 40


class Doubling:
    """Work that doubles the first rows of a buffer in place, as a stream's state changes."""

    def __init__(self, *, graphs: bool) -> None:
        self.queue = FakeQueue()
        self.rows = torch.zeros(bucket(SIZE))
        self.worked: list[int] = []
        self.replays = Replays(self.queue, self.work, self.rows.zero_, SIZE, graphs=graphs)

    def work(self, size: int) -> None:
        self.worked.append(size)
        self.rows[:size] *= 2

    def double(self, values: list[float]) -> list[float]:
        size = self.replays.ready(len(values))
        self.rows[: len(values)] = torch.tensor(values)
        self.replays.run(size)
        return self.rows[: len(values)].tolist()


@given(st.integers(1, 5000))
def test_sizes_leave_little_padding(rows: int) -> None:
    size = bucket(rows)
    assert rows <= size
    assert bucket(size) == size
    assert size - rows < max(8, rows / 4)
    assert rows > 8 or size - rows <= size / 2


def test_there_are_few_sizes() -> None:
    assert buckets(1) == [1]
    assert buckets(50) == [1, 2, 4, 8, 16, 24, 32, 40, 48, 56]
    assert len(buckets(4096)) < 40


@pytest.mark.parametrize("graphs", [False, True])
def test_every_run_works_on_what_is_in_the_buffer(graphs: bool) -> None:
    doubling = Doubling(graphs=graphs)
    for count in (3, 3, 4, 20, 3):
        values = [float(i + count) for i in range(count)]
        assert doubling.double(values) == [2 * value for value in values]
    assert len(doubling.queue.graphs) == (2 if graphs else 0)


def test_without_graphs_nothing_is_padded() -> None:
    doubling = Doubling(graphs=False)
    doubling.replays.prepare()
    doubling.double([1.0] * 3)
    assert doubling.worked == [3]


def test_after_preparing_nothing_is_captured() -> None:
    doubling = Doubling(graphs=True)
    doubling.replays.prepare()
    assert doubling.worked == list(reversed(buckets(SIZE)))
    for count in range(1, SIZE + 1):
        doubling.double([1.0] * count)
    assert len(doubling.queue.graphs) == len(buckets(SIZE))


def test_more_rows_than_there_is_room_for_are_our_own_fault() -> None:
    with pytest.raises(AssertionError):
        Doubling(graphs=True).replays.ready(SIZE + 1)


def test_transfers_on_a_cpu_are_copies() -> None:
    cpu = torch.device("cpu")
    room = host_room((2, 3), torch.int32, cpu)
    assert not room.any()
    assert room.shape == (2, 3)
    tensor = torch.arange(4)
    assert torch.equal(send(tensor, cpu), tensor)
    fetched = fetch(tensor)
    tensor += 1
    assert fetched.tolist() == [0, 1, 2, 3]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_graph_of_the_real_kind() -> None:
    device = torch.device("cuda")
    queue = CudaQueue(device, urgent=True)
    rows, host = torch.zeros(8, device=device), host_room((8,), torch.float32, device)

    def work(size: int) -> None:
        rows[:size] *= 2

    replays = Replays(queue, work, rows.zero_, 8, graphs=True)
    replays.prepare()
    for count in (3, 8, 1):
        size = replays.ready(count)
        host[:count] = torch.arange(1.0, count + 1)
        with queue.open():
            rows.copy_(host, non_blocking=True)
        replays.run(size)
        with queue.open():
            doubled = fetch(rows[:count])
        queue.mark().synchronize()
        assert doubled.tolist() == [2.0 * i for i in range(1, count + 1)]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_one_queue_makes_another_reads() -> None:
    device = torch.device("cuda")
    maker, reader = CudaQueue(device, urgent=False), CudaQueue(device, urgent=True)
    with maker.open():
        big = torch.ones(4096, 4096, device=device)
        for _ in range(20):
            big = big @ big / 4096
        made = maker.mark()
    reader.adopt(big, made)
    with reader.open():
        total = fetch(big.sum())
    reader.mark().synchronize()
    assert total.item() == pytest.approx(4096 * 4096, rel=1e-3)
    assert made.query()
