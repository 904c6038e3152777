"""A session's audio on its way to VAD: chunks and ends in, whole frames out, in order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from engine.track import Track
from engine.types import Pcm
from engine.vad.endpointer import FRAME_SAMPLES


@dataclass(frozen=True, slots=True)
class End:
    """The client's word that its segment is over, in its place among the audio."""


class FrameQueue:
    """Chunks wait here as they came; ``track`` holds what was framed, and what may still be needed.

    The last frame before an end is filled up with silence. That silence is not the client's, so
    ``resume`` takes it off the session's clock again.
    """

    def __init__(self) -> None:
        self.track = Track()
        self.ends = 0  # that still wait
        self._waiting: deque[Pcm | End] = deque()
        self._next_frame = 0  # where it begins on the session's clock
        self._padding = 0  # samples at the end of the track that are not the client's

    @property
    def frame_ready(self) -> bool:
        return self.track.end - self._next_frame >= FRAME_SAMPLES

    @property
    def heard_until(self) -> int:
        """The end of the client's audio on the track."""
        return self.track.end - self._padding

    @property
    def waiting_samples(self) -> int:
        return sum(len(item) for item in self._waiting if not isinstance(item, End))

    def put(self, item: Pcm | End) -> None:
        self._waiting.append(item)
        self.ends += isinstance(item, End)

    def take(self) -> tuple[int, End | None]:
        """Move audio to the track until a frame is whole or an end comes: samples moved, the end.

        No more is moved than a frame needs: the track stays small however long the chunks are.
        """
        moved = 0
        while self._waiting and not self.frame_ready:
            missing = FRAME_SAMPLES - (self.track.end - self._next_frame)
            item = self._waiting.popleft()
            if not isinstance(item, End):
                if len(item) > missing:
                    self._waiting.appendleft(item[missing:])
                self.track.append(item[:missing])
                moved += min(len(item), missing)
            elif missing == FRAME_SAMPLES:
                self.ends -= 1
                return moved, item
            else:
                self._waiting.appendleft(item)
                self._padding = missing
                self.track.append(np.zeros(missing, np.float32))
        return moved, None

    def frame(self) -> Pcm:
        start = self._next_frame
        self._next_frame += FRAME_SAMPLES
        return self.track.slice(start, self._next_frame)

    def resume(self) -> int:
        """After an end: go on where the client's audio ended, and say where that is."""
        at_sample, self._padding = self.heard_until, 0
        self.track.restart(at_sample)
        self._next_frame = at_sample
        return at_sample
