"""G.711, the telephone's companded samples of 8 bits (ITU-T G.711), as tables of float32[256].

Values are those of the 16-bit samples that the usual decoders give, over 2**15.
"""

from __future__ import annotations

import numpy as np

from engine.types import Pcm

_CODES = np.arange(256, dtype=np.int32)


def _mulaw() -> Pcm:
    """A sign, an exponent and a mantissa, all bits inverted; a bias of 33 (132 in 16 bits)."""
    code = ~_CODES & 0xFF
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = ((mantissa << 3) + 132 << exponent) - 132
    return _to_float(np.where(code & 0x80, -magnitude, magnitude))


def _alaw() -> Pcm:
    """Every other bit is inverted; the lowest exponent has no hidden bit."""
    code = _CODES ^ 0x55
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = (mantissa << 4) + 8
    magnitude = np.where(exponent, magnitude + 256 << np.maximum(exponent - 1, 0), magnitude)
    return _to_float(np.where(code & 0x80, magnitude, -magnitude))


def _to_float(samples: np.ndarray) -> Pcm:
    table = samples.astype(np.float32) * np.float32(2.0**-15)
    table.flags.writeable = False
    return table


MULAW = _mulaw()
ALAW = _alaw()
