"""A session's recent audio, addressed by its place on the session's clock."""

from __future__ import annotations

import numpy as np

from engine.types import SAMPLE_RATE, Pcm

_INITIAL_SAMPLES = 4 * SAMPLE_RATE


class Track:
    """Samples ``[start, end)`` of a stream; older ones are dropped when nobody needs them.

    The buffer's size follows what is held, by powers of two, so appending costs one copy; slices
    are copies, since the buffer moves.
    """

    def __init__(self) -> None:
        self._buffer: Pcm = np.zeros(_INITIAL_SAMPLES, np.float32)
        self._offset = 0  # of sample `start` in the buffer
        self.start = 0
        self.end = 0

    def append(self, pcm: Pcm) -> None:
        held = self.end - self.start
        if self._offset + held + len(pcm) > len(self._buffer):
            self._make_room(held + len(pcm))
        at = self._offset + held
        self._buffer[at : at + len(pcm)] = pcm
        self.end += len(pcm)

    def slice(self, start: int, end: int) -> Pcm:
        """A copy of samples ``[start, end)``, which must not have been dropped."""
        assert self.start <= start <= end <= self.end, (self.start, start, end, self.end)
        at = self._offset + start - self.start
        return self._buffer[at : at + end - start].copy()

    def drop_before(self, sample: int) -> None:
        """Forget everything before ``sample``."""
        sample = min(max(sample, self.start), self.end)
        self._offset += sample - self.start
        self.start = sample
        held = self.end - self.start
        if len(self._buffer) > _INITIAL_SAMPLES and held <= len(self._buffer) // 8:
            self._make_room(held)

    def restart(self, at_sample: int) -> None:
        """Forget everything; what is appended next begins at ``at_sample``."""
        self.drop_before(self.end)
        self.start = self.end = at_sample

    def _make_room(self, wanted: int) -> None:
        held = self.end - self.start
        # Twice of what is wanted, so that moving to the front costs each sample one copy at most;
        # and no more, or one long chunk would take its room for the rest of the session.
        size = _INITIAL_SAMPLES
        while 2 * wanted > size:
            size *= 2
        buffer = np.zeros(size, np.float32) if size != len(self._buffer) else self._buffer
        buffer[:held] = self._buffer[self._offset : self._offset + held]
        self._buffer, self._offset = buffer, 0


def quietest(pcm: Pcm, width_s: float = 0.2) -> int:
    """The sample in the middle of the quietest ``width_s`` of ``pcm``: where to cut speech."""
    hop = SAMPLE_RATE // 100
    hops = len(pcm) // hop
    width = round(width_s * 100)
    if hops <= width:
        return len(pcm) // 2
    energy = np.square(pcm[: hops * hop].reshape(hops, hop)).mean(axis=1)
    smooth = np.convolve(energy, np.ones(width), mode="valid")
    return int((int(smooth.argmin()) + width / 2) * hop)
