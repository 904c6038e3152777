"""Which format a recording is in, told from its first bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from server.media.channel_choice import ChoicesByCount
from server.media.container_recording import ContainerRecording
from server.media.mp4 import Mp4Demuxer
from server.media.ogg import OggDemuxer
from server.media.recording import Recording
from server.media.wav import WavRecording
from server.media.webm import WebmDemuxer


class Match(Enum):
    NO = 0
    MAYBE = 1  # more bytes are needed to tell
    YES = 2


@dataclass(frozen=True, slots=True)
class Container:
    """A format: ``magic`` is what its header holds, as (offset, bytes); ``open`` reads it."""

    name: str
    magic: tuple[tuple[int, bytes], ...]
    open: Callable[[ChoicesByCount], Recording]

    def match(self, head: bytes) -> Match:
        for offset, expected in self.magic:
            seen = head[offset : offset + len(expected)]
            if seen != expected[: len(seen)]:
                return Match.NO
        last_offset, last = self.magic[-1]
        return Match.YES if len(head) >= last_offset + len(last) else Match.MAYBE


def _webm(choices: ChoicesByCount) -> Recording:
    return ContainerRecording(WebmDemuxer(), choices)


def _ogg(choices: ChoicesByCount) -> Recording:
    return ContainerRecording(OggDemuxer(), choices)


def _mp4(choices: ChoicesByCount) -> Recording:
    return ContainerRecording(Mp4Demuxer(), choices)


CONTAINERS = (
    Container("WAV", ((0, b"RIFF"), (8, b"WAVE")), WavRecording),
    Container("WAV", ((0, b"RF64"), (8, b"WAVE")), WavRecording),
    Container("WebM", ((0, b"\x1a\x45\xdf\xa3"),), _webm),
    Container("Ogg", ((0, b"OggS\0\x02"),), _ogg),
    Container("MP4", ((0, b"\0\0\0"), (4, b"ftyp")), _mp4),
)

# Formats that are not understood, for a better message only.
_STRANGERS = (
    (b"ID3", "MP3"),
    (b"\xff\xfb", "MP3"),
    (b"\xff\xf1", "bare AAC"),
    (b"fLaC", "FLAC"),
    (b"FORM", "AIFF"),
    (b"RIFX", "big-endian WAV"),
    (b"#!AMR", "AMR"),
    (b"\x30\x26\xb2\x75", "Windows Media"),
)

# What pieces of a recording begin with after its header, as (offset, bytes).
_CONTINUATIONS = (
    (0, b"\x1f\x43\xb6\x75"),  # WebM: a cluster
    (0, b"\xa3"),  # WebM: a block within a cluster
    (0, b"OggS"),  # Ogg: a page that begins no stream
    (4, b"moof"),  # MP4: a fragment
    (4, b"mdat"),
    (4, b"styp"),
)


def sniff(head: bytes) -> tuple[Match, Container | None]:
    """What ``head``, the first bytes of a recording, is; the container comes with ``YES``."""
    best = Match.NO
    for container in CONTAINERS:
        match = container.match(head)
        if match is Match.YES:
            return match, container
        if match is Match.MAYBE:
            best = match
    return best, None


def describe_unknown(head: bytes) -> str:
    """A sentence for people who sent something else: what it is and what to send."""
    stranger = next((name for magic, name in _STRANGERS if head.startswith(magic)), None)
    names = ", ".join(dict.fromkeys(container.name for container in CONTAINERS))
    send = (
        f"Send {names}, or declare raw samples in the session message: "
        '"audio": {"format": "pcm_s16le", "sample_rate": 16000}; "pcm_f32le", "mulaw" and "alaw" '
        "are the other formats"
    )
    if stranger:
        return f"the audio's format is not known (this looks like {stranger}). {send}"
    if any(head[offset:].startswith(magic) for offset, magic in _CONTINUATIONS):
        what = "this is the middle of a recording: its header is missing"
    else:
        what = f"it begins with {head[:8].hex(' ')}, which is no header"
    return (
        f"the audio's format is not known ({what}). A recording that was begun on an earlier "
        "connection cannot go on here, because its header was sent there: begin a new recording "
        f"(in a browser: stop the MediaRecorder and start a new one). {send}"
    )
