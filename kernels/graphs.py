"""Work of any number of rows as a few graphs of fixed sizes.

A graph holds shapes and addresses. So work reads and writes static buffers only, is captured
once for each size in ``buckets``, and runs with rows of padding up to the next size.
"""

from __future__ import annotations

from collections.abc import Callable

from kernels.queues import Graph, Queue

_FINE = 8


def bucket(rows: int) -> int:
    """The size that ``rows`` are padded to: 1, 2, 4, 8, 16, 24, … 64, 80, … 128, 160, …

    At most half of it is padding up to 8 rows, less than 8 rows up to 64, and less than a
    quarter above.
    """
    assert rows > 0
    if rows <= _FINE:
        return 1 << (rows - 1).bit_length()
    step = max(_FINE, 1 << ((rows - 1).bit_length() - 3))
    return -(-rows // step) * step


def buckets(largest: int) -> list[int]:
    """Every size that up to ``largest`` rows are padded to."""
    return sorted({bucket(rows) for rows in range(1, largest + 1)})


class Replays:
    """``work(size)`` on a queue, for any number of rows up to ``largest``.

    Without ``graphs`` a size is the number of rows itself, and the work is run each time. With
    them it is a bucket, captured at first need or by ``prepare``. Capturing runs the work as
    well, on whatever the static buffers hold: ``blank`` fills them with padding before it.
    """

    def __init__(
        self,
        queue: Queue,
        work: Callable[[int], None],
        blank: Callable[[], None],
        largest: int,
        *,
        graphs: bool,
    ) -> None:
        self._queue = queue
        self._work = work
        self._blank = blank
        self._largest = largest
        self._wanted = graphs
        self._graphs: dict[int, Graph] = {}

    def ready(self, rows: int) -> int:
        """The size to run ``rows`` with. To be asked before the buffers are filled."""
        assert 0 < rows <= self._largest, rows
        if not self._wanted:
            return rows
        size = bucket(rows)
        if size not in self._graphs:
            with self._queue.open():
                self._blank()
            self._graphs[size] = self._queue.capture(lambda: self._work(size))
        return size

    def run(self, size: int) -> None:
        """Put the work into the queue, for a size that is ``ready``."""
        with self._queue.open():
            if self._wanted:
                self._graphs[size].replay()
            else:
                self._work(size)

    def prepare(self) -> None:
        """Capture every size, so that nobody waits for it later; the largest first, so that the
        others find room in its memory."""
        if self._wanted:
            for size in reversed(buckets(self._largest)):
                self.ready(min(size, self._largest))

    def close(self) -> None:
        """Let go of the graphs, and of the memory that they hold."""
        self._graphs.clear()
