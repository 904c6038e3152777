"""MP4's fragments: where the samples lie (ISO/IEC 14496-12 §8.8)."""

from __future__ import annotations

import struct

from server.media.mp4_boxes import children, damaged, find, unpack
from server.media.mp4_track import Mp4Track
from server.media.packets import MAX_PACKET_BYTES

MAX_SAMPLES = 1 << 16
_BASE_OFFSET, _DESCRIPTION, _DURATION, _SIZE = 0x1, 0x2, 0x8, 0x10  # tfhd
_DATA_OFFSET, _FIRST_FLAGS = 0x1, 0x4  # trun
_EACH_DURATION, _EACH_SIZE, _EACH_FLAGS, _EACH_OFFSET = 0x100, 0x200, 0x400, 0x800


def sample_ranges(moof: bytes, moof_start: int, track: Mp4Track) -> list[tuple[int, int]]:
    """The (start, size) in bytes of each of the track's samples, counted from the file's start.

    Raises:
        AudioError: the fragment is damaged, or has more than ``MAX_SAMPLES``.
    """
    ranges: list[tuple[int, int]] = []
    for traf in (body for kind, body in children(moof) if kind == b"traf"):
        tfhd = find(traf, b"tfhd") or b""
        flags, track_id = unpack("II", tfhd)
        if track_id != track.id:
            continue
        base, default_bytes = _defaults(tfhd, flags & 0xFFFFFF, moof_start, track)
        at = base
        for kind, trun in children(traf):
            if kind == b"trun":
                at = _read_run(trun, base, at, default_bytes, ranges)
    return ranges


def _defaults(tfhd: bytes, flags: int, moof_start: int, track: Mp4Track) -> tuple[int, int]:
    """What offsets count from, and the size of samples that tell none."""
    at, base, size = 8, moof_start, track.default_bytes
    if flags & _BASE_OFFSET:
        (base,) = unpack("Q", tfhd, at)
        at += 8
    at += 4 * bool(flags & _DESCRIPTION) + 4 * bool(flags & _DURATION)
    if flags & _SIZE:
        (size,) = unpack("I", tfhd, at)
    return base, size


def _read_run(
    trun: bytes, base: int, start: int, default_bytes: int, ranges: list[tuple[int, int]]
) -> int:
    """Add a run's samples to ``ranges``; return where the next run begins."""
    flags, count = unpack("II", trun)
    if count + len(ranges) > MAX_SAMPLES:
        raise damaged(f"a fragment of {count} samples; up to {MAX_SAMPLES} are allowed")
    at = 8
    if flags & _DATA_OFFSET:
        start = base + unpack("i", trun, at)[0]
        at += 4
    at += 4 * bool(flags & _FIRST_FLAGS)
    for size in _sizes(trun[at:], flags, count, default_bytes):
        if size > MAX_PACKET_BYTES:
            raise damaged(f"a sample of {size} bytes")
        ranges.append((start, size))
        start += size
    return start


def _sizes(fields: bytes, flags: int, count: int, default_bytes: int) -> list[int]:
    present = (_EACH_DURATION, _EACH_SIZE, _EACH_FLAGS, _EACH_OFFSET)
    columns = [flag for flag in present if flags & flag]
    if _EACH_SIZE not in columns:
        return [default_bytes] * count
    if len(fields) < 4 * count * len(columns):
        raise damaged("a run of samples is too short")
    values = struct.unpack_from(f">{count * len(columns)}I", fields)
    return list(values[columns.index(_EACH_SIZE) :: len(columns)])
