"""The seam where audio formats plug in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from engine.types import Pcm


class Recording(Protocol):
    """One recording, from its header on, that arrives in pieces cut anywhere.

    The memory that it holds between calls is bounded, whatever the bytes say.
    """

    @property
    def in_header(self) -> bool:
        """Whether the header is still incomplete, so that no audio can be decoded yet."""
        ...

    def feed(self, data: bytes) -> Iterator[Pcm]:
        """Yield the audio that ``data`` completes, as float32[n] at 16 kHz.

        Raises:
            AudioError: the bytes are not such a recording; it is of no use any more, except
                for ``flush``.
        """
        ...

    def take_rest(self) -> bytes | None:
        """The bytes that follow the end of this recording, once; ``None`` while it goes on."""
        ...

    def flush(self) -> Pcm:
        """The last samples, when the recording is over. Never raises."""
        ...
