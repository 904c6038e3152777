"""A session's audio on its way in: base64 or bytes to samples, off the event loop if large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from engine.errors import AudioError
from server.media.base64_stream import Base64Stream
from server.media.resampler import EMPTY
from server.media.stream import AudioStream, Declared, Decoded
from server.messages import AudioBytes, AudioText

# Raw audio of this size takes well under a millisecond; a compressed minute does not.
INLINE_BYTES = 16 << 10


class Intake:
    """One opening's audio, in the order in which it came. One call at a time."""

    def __init__(self, declared: Declared) -> None:
        self._base64 = Base64Stream()
        self._stream = AudioStream(declared)

    async def take(self, chunk: AudioText | AudioBytes) -> AsyncIterator[Decoded]:
        """Decode as far as the bytes go, in pieces (``MAX_PIECE_S``), each when it is asked for.

        So a small message that stands for much audio takes no more memory than any other. Never
        raises for bad audio: see ``Decoded.error``.
        """
        pieces = self._decode(chunk)
        if len(chunk.data) <= INLINE_BYTES:
            for decoded in pieces:
                yield decoded
            return
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    def end_segment(self) -> list[Decoded]:
        """What was still held back, in base64 and in the decoder."""
        try:
            rest = self._stream.feed(self._base64.end_segment())
        except AudioError as error:
            rest = Decoded(EMPTY, error)
        return [rest, self._stream.end_segment()]

    def _decode(self, chunk: AudioText | AudioBytes) -> Iterator[Decoded]:
        try:
            data = chunk.data if isinstance(chunk, AudioBytes) else self._base64.feed(chunk.data)
        except AudioError as error:
            yield Decoded(EMPTY, error)
            return
        yield from self._stream.pieces(data)
