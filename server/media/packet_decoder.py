"""Packets of a track to mono float32 at 16 kHz."""

from __future__ import annotations

from typing import Protocol

import av
import av.error
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame

from engine.errors import AudioError
from engine.types import Pcm
from server.media.channel_choice import ChoicesByCount
from server.media.mixer import Mixer
from server.media.packets import Packet, Track
from server.media.pcm import PcmDecoder
from server.media.resampler import EMPTY, Resampler

_MAX_BAD_PACKETS = 10
_ABSURD = 8.0  # times full scale


class PacketDecoder(Protocol):
    def feed(self, packet: Packet) -> Pcm:
        """float32[n] at 16 kHz; ``AudioError`` where the packets are not of the codec."""
        ...

    def flush(self) -> Pcm:
        """The last samples; the decoder is of no use afterwards. Never raises."""
        ...


def open_decoder(track: Track, choices: ChoicesByCount | None = None) -> PacketDecoder:
    """Raises ``AudioError`` where the codec refuses the track's configuration."""
    return (PcmPackets if track.codec == "pcm" else CodecPackets)(track, choices)


class PcmPackets:
    """Packets that hold bare samples."""

    def __init__(self, track: Track, choices: ChoicesByCount | None) -> None:
        assert track.layout is not None
        self._decoder = PcmDecoder(track.layout, choices)

    def feed(self, packet: Packet) -> Pcm:
        return self._decoder.feed(packet.data)

    def flush(self) -> Pcm:
        return self._decoder.flush()


class CodecPackets:
    """Opus or AAC, by FFmpeg, in this thread.

    A single packet that does not decode becomes silence, so that time goes on; many in a row
    are an error.
    """

    def __init__(self, track: Track, choices: ChoicesByCount | None) -> None:
        self._track = track
        self._choices = choices
        self._mixer: Mixer | None = None
        self._to_skip = track.skip_samples
        self._context = _open_context(track)
        self._resampler: Resampler | None = None
        self._rate_hz = 0
        self._last_samples = 0
        self._bad_packets = 0

    def feed(self, packet: Packet) -> Pcm:
        if not packet.data:  # FFmpeg takes an empty packet for the end of the stream
            return EMPTY
        try:
            frames = self._context.decode(av.Packet(packet.data))
        except av.error.FFmpegError as error:
            return self._conceal(error)
        self._bad_packets = 0
        pieces = [self._hear(self._mix(frame), frame.sample_rate, packet) for frame in frames]
        return pieces[0] if len(pieces) == 1 else np.concatenate([EMPTY, *pieces])

    def flush(self) -> Pcm:
        return self._resampler.flush() if self._resampler else EMPTY

    def _conceal(self, error: av.error.FFmpegError) -> Pcm:
        self._bad_packets += 1
        if self._bad_packets > _MAX_BAD_PACKETS:
            message = f"{self._bad_packets} {self._track.codec} packets in a row are damaged"
            raise AudioError(f"{message}; start a new recording") from error
        if not self._rate_hz:
            return EMPTY
        return self._hear(np.zeros(self._last_samples, np.float32), self._rate_hz, Packet(b""))

    def _mix(self, frame: AudioFrame) -> Pcm:
        planes = to_planes(frame)
        if len(planes) == 1:
            mono: Pcm = planes[0]
            return mono
        rate_changes = frame.sample_rate != self._rate_hz
        if self._mixer is None or self._mixer.channels != len(planes) or rate_changes:
            self._mixer = Mixer(len(planes), frame.sample_rate, self._choices)
        return self._mixer.feed(planes)

    def _hear(self, mono: Pcm, rate_hz: int, packet: Packet) -> Pcm:
        """Take off what is not to be heard, then convert the rate."""
        changed = EMPTY
        if rate_hz != self._rate_hz:
            changed = self._change_rate(rate_hz)
        assert self._resampler is not None
        self._last_samples = len(mono)
        ratio = rate_hz / self._track.rate_hz
        skipped = min(len(mono), round(self._to_skip * ratio))
        self._to_skip = max(0, self._to_skip - round(len(mono) / ratio))
        end = max(skipped, len(mono) - round(packet.trim_samples * ratio))
        heard = self._resampler.feed(mono[skipped:end])
        return np.concatenate([changed, heard]) if len(changed) else heard

    def _change_rate(self, rate_hz: int) -> Pcm:
        # FFmpeg's AAC decoder refuses rates that have no index, so this is never absurd.
        tail = self.flush()
        self._resampler = Resampler(rate_hz)
        self._rate_hz = rate_hz
        return tail


def _open_context(track: Track) -> AudioCodecContext:
    context = av.CodecContext.create(track.codec, "r")
    assert isinstance(context, AudioCodecContext)
    context.thread_count = 1
    context.extradata = track.config
    try:
        context.open()
    except av.error.FFmpegError as error:
        raise AudioError(f"the {track.codec} track's configuration is damaged") from error
    return context


def to_planes(frame: AudioFrame) -> Pcm:
    """float32[channels, n]; what is not a number is silence, and what is absurd is clipped."""
    assert frame.format.name == "fltp", frame.format.name
    planes: Pcm = np.asarray(frame.to_ndarray(), dtype=np.float32)
    if not np.abs(planes).max(initial=0.0) <= _ABSURD:  # damaged packets may decode to anything
        planes = np.nan_to_num(planes, nan=0.0).clip(-1.0, 1.0)
    return planes
