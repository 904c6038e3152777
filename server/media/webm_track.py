"""WebM's and Matroska's track list (RFC 9559 §5.1.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from engine.errors import AudioError
from server.media.ebml import children, to_float, to_uint
from server.media.opus import opus_track
from server.media.packets import WHAT_TO_RECORD, Track
from server.media.pcm import SampleLayout

_TRACK_ENTRY, _NUMBER, _TYPE, _CODEC, _CONFIG = 0xAE, 0xD7, 0x83, 0x86, 0x63A2
_CODEC_DELAY, _AUDIO, _RATE, _CHANNELS, _BITS = 0x56AA, 0xE1, 0xB5, 0x9F, 0x6264
_ENCODINGS, _ENCODING, _ENCRYPTION = 0x6D80, 0x6240, 0x5035
_AUDIO_TYPE = 2
_PCM_KINDS: dict[str, Literal["int", "float"]] = {
    "A_PCM/INT/LIT": "int",
    "A_PCM/FLOAT/IEEE": "float",
}


@dataclass(slots=True)
class _Entry:
    number: int = 0
    type: int = 0
    codec: str = "?"
    config: bytes = b""
    delay_ns: int = 0
    rate_hz: float = 8000.0
    channels: int = 1
    bits: int = 0
    encoding: str = ""


def choose_track(tracks: bytes) -> tuple[int, Track]:
    """The number and the description of the first audio track that can be decoded.

    Raises:
        AudioError: there is none; the message names what there is.
    """
    entries = [_parse_entry(body) for kind, body in children(tracks) if kind == _TRACK_ENTRY]
    for entry in entries:
        if entry.type == _AUDIO_TYPE and not entry.encoding and (track := _to_track(entry)):
            return entry.number, track
    found = ", ".join(f"{entry.encoding}{entry.codec}" for entry in entries) or "no track"
    raise AudioError(
        f"the WebM recording holds {found}; A_OPUS, A_AAC and A_PCM are understood: "
        f"{WHAT_TO_RECORD}"
    )


def _parse_entry(body: bytes) -> _Entry:
    entry = _Entry()
    for kind, value in children(body):
        if kind == _NUMBER:
            entry.number = to_uint(value)
        elif kind == _TYPE:
            entry.type = to_uint(value)
        elif kind == _CODEC:
            entry.codec = value[:40].rstrip(b"\0").decode("ascii", "replace")
        elif kind == _CONFIG:
            entry.config = value
        elif kind == _CODEC_DELAY:
            entry.delay_ns = to_uint(value)
        elif kind == _AUDIO:
            _parse_audio(entry, value)
        elif kind == _ENCODINGS:
            entry.encoding = _name_encoding(value)
    return entry


def _parse_audio(entry: _Entry, body: bytes) -> None:
    for kind, value in children(body):
        if kind == _RATE:
            entry.rate_hz = to_float(value)
        elif kind == _CHANNELS:
            entry.channels = to_uint(value)
        elif kind == _BITS:
            entry.bits = to_uint(value)


def _name_encoding(body: bytes) -> str:
    encodings = [kind for _, encoding in children(body) for kind, _ in children(encoding)]
    return "encrypted " if _ENCRYPTION in encodings else "compressed "


def _to_track(entry: _Entry) -> Track | None:
    rate_hz = round(entry.rate_hz) if math.isfinite(entry.rate_hz) else 0
    if entry.codec == "A_OPUS":
        return opus_track(entry.config)
    if entry.codec == "A_AAC" and rate_hz > 0:
        return Track("aac", entry.config, rate_hz, entry.delay_ns * rate_hz // 10**9)
    if kind := _PCM_KINDS.get(entry.codec):
        layout = SampleLayout(kind, (entry.bits + 7) // 8, entry.channels, rate_hz)
        return Track("pcm", b"", rate_hz, layout=layout)
    return None
