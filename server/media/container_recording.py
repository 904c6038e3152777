"""A recording in a container: a demuxer and, once the track is known, its decoder."""

from __future__ import annotations

from collections.abc import Iterator

from engine.types import Pcm
from server.media.channel_choice import ChoicesByCount
from server.media.packet_decoder import PacketDecoder, open_decoder
from server.media.packets import Demuxer
from server.media.resampler import EMPTY


class ContainerRecording:
    """A ``Recording``. Timestamps are not used: the gap of a paused recorder is closed."""

    def __init__(self, demuxer: Demuxer, choices: ChoicesByCount | None = None) -> None:
        self._choices = choices
        self._demuxer = demuxer
        self._decoder: PacketDecoder | None = None

    @property
    def in_header(self) -> bool:
        return self._demuxer.track is None

    def feed(self, data: bytes) -> Iterator[Pcm]:
        for packet in self._demuxer.feed(data):
            if self._decoder is None:
                assert self._demuxer.track is not None
                self._decoder = open_decoder(self._demuxer.track, self._choices)
            yield self._decoder.feed(packet)

    def take_rest(self) -> bytes | None:
        return self._demuxer.take_rest()

    def flush(self) -> Pcm:
        return self._decoder.flush() if self._decoder else EMPTY
