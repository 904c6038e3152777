"""Reader of CTranslate2 ``model.bin`` files.

The format (little-endian): u32 version (6), spec name, u32 revision, u32 count; then for each
variable its name, u8 rank, u32 dimensions, u8 type, u32 bytes, data; then u32 count of aliases
as pairs of names. A string is a u16 length that counts its closing NUL, then the bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import ModelError

Weights = dict[str, torch.Tensor]

_VERSION = 6
_TYPES: dict[int, tuple[str, torch.dtype]] = {
    0: ("<f4", torch.float32),
    1: ("<i1", torch.int8),
    2: ("<i2", torch.int16),
    3: ("<i4", torch.int32),
    4: ("<f2", torch.float16),
    5: ("<i2", torch.bfloat16),
}


class _Reader:
    """A cursor over the mapped file."""

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self._data = data
        self._offset = 0

    def number(self, code: str) -> int:
        raw = self.take(struct.calcsize(code))
        return int(struct.unpack("<" + code, raw.tobytes())[0])

    def string(self) -> str:
        raw = self.take(self.number("H"))
        if not raw.size or raw[-1] != 0:
            raise ValueError("a name without its closing NUL")
        return raw[:-1].tobytes().decode()

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        end = self._offset + size
        if end > len(self._data):
            raise ValueError("it ends in the middle of a value")
        piece = self._data[self._offset : end]
        self._offset = end
        return piece


def read_model_bin(path: Path, spec: str = "WhisperSpec") -> Weights:
    """Every variable of ``path`` by name, aliases included.

    Tensors keep the type of the file and share its read-only mapping, so nothing is read before
    it is used: copy before writing. Raises ``ModelError`` if the file is missing, cut short, of
    another version or of another ``spec``.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="c")
        return _read(_Reader(data), spec)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the weights in {path}: {error}") from error


def _read(reader: _Reader, spec: str) -> Weights:
    version, name = reader.number("I"), reader.string()
    if version != _VERSION or name != spec:
        raise ValueError(f"it is {name} in version {version}, not {spec} in version {_VERSION}")
    reader.number("I")
    weights: Weights = {}
    for _ in range(reader.number("I")):
        name, tensor = _variable(reader)
        weights[name] = tensor
    for _ in range(reader.number("I")):
        alias, name = reader.string(), reader.string()
        if name not in weights:
            raise ValueError(f"the alias {alias} names {name}, which is not there")
        weights[alias] = weights[name]
    return weights


def _variable(reader: _Reader) -> tuple[str, torch.Tensor]:
    name = reader.string()
    shape = tuple(reader.number("I") for _ in range(reader.number("B")))
    code = reader.number("B")
    if code not in _TYPES:
        raise ValueError(f"{name} is of the unknown type {code}")
    layout, dtype = _TYPES[code]
    raw = reader.take(reader.number("I"))
    tensor = torch.from_numpy(_aligned(raw, layout).reshape(shape))
    return name, tensor.view(dtype) if dtype is torch.bfloat16 else tensor


def _aligned(raw: npt.NDArray[np.uint8], layout: str) -> npt.NDArray[np.generic]:
    """View ``raw`` as numbers; data that begins at an odd address is copied."""
    values = raw.view(layout)
    return values if values.flags.aligned else values.copy()
