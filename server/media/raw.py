"""Raw PCM: samples without any header, as the session declared them."""

from __future__ import annotations

from collections.abc import Iterator

from engine.types import Pcm
from server.media.channel_choice import ChoicesByCount
from server.media.pcm import PcmDecoder, SampleLayout


class RawRecording:
    """A ``Recording`` that never ends by itself and in which no byte is wrong."""

    in_header = False

    def __init__(self, layout: SampleLayout, choices: ChoicesByCount | None = None) -> None:
        self._pcm = PcmDecoder(layout, choices)

    def feed(self, data: bytes) -> Iterator[Pcm]:
        yield self._pcm.feed(data)

    def take_rest(self) -> bytes | None:
        return None

    def flush(self) -> Pcm:
        return self._pcm.flush()
