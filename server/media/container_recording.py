"""A recording in a container: a demuxer and, once the track is known, its decoder."""

from __future__ import annotations

from collections.abc import Iterator

from engine.errors import AudioError
from engine.types import SAMPLE_RATE, Pcm
from server.media.channel_choice import ChoicesByCount
from server.media.packet_decoder import PacketDecoder, open_decoder
from server.media.packets import Demuxer
from server.media.resampler import EMPTY

# A packet of two bytes may stand for 120 ms: without a bound a message of a megabyte could ask
# for a gigabyte of samples.
MAX_SECONDS_PER_CHUNK = 600


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
        left = MAX_SECONDS_PER_CHUNK * SAMPLE_RATE
        for packet in self._demuxer.feed(data):
            if self._decoder is None:
                assert self._demuxer.track is not None
                self._decoder = open_decoder(self._demuxer.track, self._choices)
            pcm = self._decoder.feed(packet)
            left -= len(pcm)
            yield pcm
            if left < 0:
                limit = f"{MAX_SECONDS_PER_CHUNK} s of audio"
                raise AudioError(f"more than {limit} in one chunk; send smaller chunks")

    def take_rest(self) -> bytes | None:
        return self._demuxer.take_rest()

    def flush(self) -> Pcm:
        return self._decoder.flush() if self._decoder else EMPTY
