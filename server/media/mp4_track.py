"""MP4's movie box: which track to hear (ISO/IEC 14496-12 §8; -14 §5.6; Opus in ISOBMFF §4.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from engine.errors import AudioError
from server.media.mp4_boxes import children, damaged, find, unpack
from server.media.opus import HEAD_MAGIC, OPUS_RATE_HZ, opus_track
from server.media.packets import WHAT_TO_RECORD, Track

_ENTRY_BYTES = 28  # of an audio sample entry, before its boxes
_ENTRY_MORE_BYTES = {0: 0, 1: 16, 2: 36}  # by version; QuickTime has 1 and 2
_AAC_OBJECT_TYPES = (0x40, 0x66, 0x67, 0x68)
_ES, _DECODER_CONFIG, _DECODER_SPECIFIC = 3, 4, 5


@dataclass(frozen=True, slots=True)
class Mp4Track:
    """``id`` names the track in fragments; ``default_bytes`` is a sample's size if none is told."""

    id: int
    track: Track
    default_bytes: int


def choose_track(moov: bytes) -> Mp4Track:
    """The first audio track that can be decoded.

    Raises:
        AudioError: there is none, or the file is not fragmented.
    """
    found = []
    for trak in (body for kind, body in children(moov) if kind == b"trak"):
        entry = find(trak, b"mdia", b"minf", b"stbl", b"stsd") or b""
        codec, description = next(children(entry, 8), (b"none", b""))
        found.append("encrypted audio" if codec == b"enca" else codec.decode("latin-1"))
        if track := _to_track(codec, description, *_timing(trak)):
            return _in_fragments(moov, trak, track)
    raise AudioError(
        f"the MP4 recording holds {', '.join(found) or 'no track'}; AAC (mp4a) and Opus are "
        f"understood: {WHAT_TO_RECORD}"
    )


def _in_fragments(moov: bytes, trak: bytes, track: Track) -> Mp4Track:
    tkhd = find(trak, b"tkhd") or b""
    (track_id,) = unpack("I", tkhd, 20 if tkhd[:1] == b"\1" else 12)
    mvex = find(moov, b"mvex")
    if mvex is None:
        raise AudioError(
            f"the MP4 file is not fragmented, so it cannot be streamed: {WHAT_TO_RECORD}"
        )
    for kind, trex in children(mvex):
        if kind == b"trex" and unpack("I", trex, 4)[0] == track_id:
            return Mp4Track(track_id, track, unpack("I", trex, 16)[0])
    raise damaged("its fragments have no defaults (trex)")


def _timing(trak: bytes) -> tuple[int, int]:
    """The track's ticks a second, and how many of them at its beginning are not to be heard."""
    mdhd = find(trak, b"mdia", b"mdhd") or b""
    (ticks_per_s,) = unpack("I", mdhd, 20 if mdhd[:1] == b"\1" else 12)
    elst = find(trak, b"edts", b"elst")
    if elst is None:
        return ticks_per_s, 0
    layout = "Qq4x" if elst[:1] == b"\1" else "Ii4x"
    (count,) = unpack("I", elst, 4)
    size = struct.calcsize(">" + layout)
    for index in range(min(count, len(elst) // size)):
        start = unpack(layout, elst, 8 + index * size)[1]
        if start >= 0:  # -1 is an empty edit
            return ticks_per_s, start
    return ticks_per_s, 0


def _to_track(codec: bytes, entry: bytes, ticks_per_s: int, skip_ticks: int) -> Track | None:
    if codec not in (b"Opus", b"mp4a"):
        return None
    if not ticks_per_s:
        raise damaged("its clock stands still")
    (version,) = unpack("H", entry, 8)
    boxes = dict(children(entry, _ENTRY_BYTES + _ENTRY_MORE_BYTES.get(version, 0)))
    if codec == b"Opus":
        track = _opus_track(boxes.get(b"dOps", b""))
        skip_samples = max(track.skip_samples, skip_ticks * OPUS_RATE_HZ // ticks_per_s)
        return Track("opus", track.config, OPUS_RATE_HZ, skip_samples)
    esds = boxes.get(b"esds") or find(boxes.get(b"wave", b""), b"esds")
    config = _aac_config(esds or b"")
    return None if config is None else Track("aac", config, ticks_per_s, skip_ticks)


def _opus_track(dops: bytes) -> Track:
    """``dOps`` holds the fields of an ``OpusHead``, big-endian."""
    version, channels, pre_skip, rate_hz, gain = unpack("BBHIh", dops)
    if version:
        raise damaged(f"an Opus description of version {version}")
    head = HEAD_MAGIC + struct.pack("<BBHIh", 1, channels, pre_skip, rate_hz, gain)
    return opus_track(head + dops[10:])


def _aac_config(esds: bytes) -> bytes | None:
    """The AudioSpecificConfig in an ``esds`` box; ``None`` if the codec is not AAC."""
    body = _descriptor(esds[4:], _ES)
    (flags,) = unpack("B", body, 2)
    at = 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
    if flags & 0x40:
        at += 1 + unpack("B", body, at)[0]
    config = _descriptor(body[at:], _DECODER_CONFIG)
    if unpack("B", config)[0] not in _AAC_OBJECT_TYPES:
        return None
    return _descriptor(config[13:], _DECODER_SPECIFIC)


def _descriptor(data: bytes, tag: int) -> bytes:
    """The body of the descriptor that ``data`` begins with, which must be ``tag``."""
    if unpack("B", data)[0] != tag:
        raise damaged("an AAC description without its parts")
    size = 0
    for at in range(1, 5):
        (byte,) = unpack("B", data, at)
        size = size << 7 | byte & 0x7F
        if not byte & 0x80:
            break
    return data[at + 1 : at + 1 + size]
