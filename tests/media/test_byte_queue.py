from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from server.media.byte_queue import ByteQueue


class QueueMachine(RuleBasedStateMachine):
    """Against a model that keeps every byte and an offset that may run ahead of them."""

    def __init__(self) -> None:
        super().__init__()
        self.queue, self.all, self.at = ByteQueue(), b"", 0

    @rule(data=st.binary(max_size=20))
    def append(self, data):
        self.queue.append(data)
        self.all += data

    @rule(count=st.integers(0, 30))
    def take(self, count):
        here = self.all[self.at :]
        taken = self.queue.take(count)
        if len(here) < count:
            assert taken is None
        else:
            assert taken == here[:count]
            self.at += count

    @rule(count=st.integers(0, 30))
    def take_up_to(self, count):
        expected = self.all[self.at : self.at + count]
        assert self.queue.take_up_to(count) == expected
        self.at += len(expected)

    @rule(count=st.integers(0, 50))
    def skip(self, count):
        self.queue.skip(count)
        self.at += count

    @rule(count=st.integers(0, 9), offset=st.integers(0, 9))
    def peek(self, count, offset):
        start = self.at + offset
        assert self.queue.peek(count, offset) == self.all[start : start + count]

    @invariant()
    def length_and_position(self):
        assert len(self.queue) == max(0, len(self.all) - self.at)
        assert self.queue.position == self.at


TestByteQueue = QueueMachine.TestCase
