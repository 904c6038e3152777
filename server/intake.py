"""A session's audio on its way in: base64 or bytes to samples, off the event loop if large."""

from __future__ import annotations

import asyncio

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

    async def take(self, chunk: AudioText | AudioBytes) -> Decoded:
        """Decode as far as the bytes go. Never raises for bad audio: see ``Decoded.error``."""
        if len(chunk.data) > INLINE_BYTES:
            return await asyncio.to_thread(self._decode, chunk)
        return self._decode(chunk)

    def end_segment(self) -> list[Decoded]:
        """What was still held back, in base64 and in the decoder."""
        try:
            rest = self._stream.feed(self._base64.end_segment())
        except AudioError as error:
            rest = Decoded(EMPTY, error)
        return [rest, self._stream.end_segment()]

    def _decode(self, chunk: AudioText | AudioBytes) -> Decoded:
        if isinstance(chunk, AudioBytes):
            return self._stream.feed(chunk.data)
        try:
            return self._stream.feed(self._base64.feed(chunk.data))
        except AudioError as error:
            return Decoded(EMPTY, error)
