"""Opus identification headers and packet durations (RFC 7845 §5.1, RFC 6716 §3.1)."""

from __future__ import annotations

import struct

from engine.errors import AudioError
from server.media.packets import Track

OPUS_RATE_HZ = 48_000
HEAD_MAGIC = b"OpusHead"
_SILK_SAMPLES = (480, 960, 1920, 2880)  # of each configuration 0 to 11, by its last two bits
_HYBRID_SAMPLES = (480, 960)
_CELT_SAMPLES = (120, 240, 480, 960)


def opus_track(head: bytes) -> Track:
    """The track that an ``OpusHead`` (little-endian, with its magic) describes.

    FFmpeg gets it with a pre-skip of 0, because the pre-skip is taken off by us.

    Raises:
        AudioError: it is damaged or of an unknown version.
    """
    if len(head) < 19 or head[:8] != HEAD_MAGIC or head[8] > 15:
        raise AudioError("the recording's Opus header is damaged or of an unknown version")
    channels, skip_samples = struct.unpack_from("<BH", head, 9)
    if not channels:
        raise AudioError("the recording's Opus header names no channel")
    config = head[:10] + b"\0\0" + head[12:]
    return Track("opus", config, OPUS_RATE_HZ, skip_samples)


def packet_samples(packet: bytes) -> int:
    """How many samples at 48 kHz an Opus packet stands for; 0 if it is malformed."""
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = _SILK_SAMPLES[config & 3]
    elif config < 16:
        frame = _HYBRID_SAMPLES[config & 1]
    else:
        frame = _CELT_SAMPLES[config & 3]
    if code == 3:
        return frame * (packet[1] & 63) if len(packet) > 1 else 0
    return frame * (1 if code == 0 else 2)
