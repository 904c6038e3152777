"""Interleaved samples, as bytes, to mono float32 at 16 kHz."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.errors import AudioError
from engine.types import Pcm
from server.media.channel_choice import ChoicesByCount
from server.media.g711 import ALAW, MULAW
from server.media.mixer import Mixer
from server.media.resampler import EMPTY, Resampler

SampleKind = Literal["int", "float", "mulaw", "alaw"]

MIN_RATE_HZ = 8_000
MAX_RATE_HZ = 192_000
MAX_CHANNELS = 256
_SIZES = {"int": (1, 2, 3, 4), "float": (4, 8), "mulaw": (1,), "alaw": (1,)}  # in bytes


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """How little-endian samples lie in a byte stream. Integers of one byte are unsigned."""

    kind: SampleKind
    sample_bytes: int
    channels: int
    rate_hz: int

    def __post_init__(self) -> None:
        """Raises ``AudioError`` on a layout that cannot be decoded."""
        if self.sample_bytes not in _SIZES[self.kind]:
            raise AudioError(f"samples of {8 * self.sample_bytes} bits ({self.kind}) are unknown")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise AudioError(f"{self.channels} channels; 1 to {MAX_CHANNELS} are understood")
        if not MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ:
            raise AudioError(
                f"a sample rate of {self.rate_hz} Hz; "
                f"{MIN_RATE_HZ} to {MAX_RATE_HZ} Hz are understood"
            )


class PcmDecoder:
    """Bytes of one signal, cut anywhere, to mono float32[n] at 16 kHz."""

    def __init__(self, layout: SampleLayout, choices: ChoicesByCount | None = None) -> None:
        self._layout = layout
        self._frame_bytes = layout.sample_bytes * layout.channels
        self._carry = b""
        self._mixer = None
        if layout.channels > 1:
            self._mixer = Mixer(layout.channels, layout.rate_hz, choices)
        self._resampler = Resampler(layout.rate_hz)

    def feed(self, data: bytes) -> Pcm:
        """Decode what is complete; a sample cut in two waits for its other half."""
        if self._carry:
            data = self._carry + data
        whole = len(data) // self._frame_bytes * self._frame_bytes
        self._carry = data[whole:]
        if not whole:
            return EMPTY
        samples = _to_float(data[:whole], self._layout)
        if self._mixer:
            samples = self._mixer.feed(samples.reshape(-1, self._layout.channels).T)
        return self._resampler.feed(samples)

    def flush(self) -> Pcm:
        """The end of the signal; a sample that was cut in two is dropped."""
        self._carry = b""
        return self._resampler.flush()


def _to_float(data: bytes, layout: SampleLayout) -> Pcm:
    """Whole frames of interleaved samples to float32[n * channels] in [-1, 1]."""
    if layout.kind == "float":
        wild = np.frombuffer(data, dtype=f"<f{layout.sample_bytes}")
        tame = np.nan_to_num(wild, nan=0.0, posinf=1.0, neginf=-1.0)
        pcm: Pcm = np.clip(tame, -1.0, 1.0).astype(np.float32)
        return pcm
    if layout.kind in ("mulaw", "alaw"):
        table = MULAW if layout.kind == "mulaw" else ALAW
        return table.take(np.frombuffer(data, dtype=np.uint8))
    if layout.sample_bytes == 1:
        return (np.frombuffer(data, dtype=np.uint8).astype(np.float32) - 128) / np.float32(128)
    if layout.sample_bytes == 3:
        return _scaled(_int24(data), 31)
    return _scaled(
        np.frombuffer(data, dtype=f"<i{layout.sample_bytes}"), 8 * layout.sample_bytes - 1
    )


def _int24(data: bytes) -> npt.NDArray[np.int32]:
    """24-bit samples in the upper three bytes of int32[n]."""
    wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
    wide[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
    return wide.reshape(-1).view("<i4")


def _scaled(samples: npt.NDArray[np.signedinteger], bits: int) -> Pcm:
    pcm = samples.astype(np.float32)
    pcm *= np.float32(2.0**-bits)
    return pcm
