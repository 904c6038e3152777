"""The special tokens that a GGUF file's header names.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The ``gguf`` package reads
all of it, in seconds, since it makes an array of each of many thousand tokens.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import ModelError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}  # fmt: skip
_STRING, _ARRAY = 8, 9
# llama.cpp's token types: a text of these is one token wherever it stands in a rendered prompt.
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
_TOKENS, _KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"


def special_tokens(file: Path) -> list[str]:
    """Texts of the tokens that are read whole. Raises ``ModelError``."""
    try:
        with file.open("rb") as opened:
            tokens, kinds = _vocabulary(_Header(opened))
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise ModelError(f"cannot read which tokens {file} has: {error!r}") from error
    special = {_UNKNOWN, _CONTROL, _USER_DEFINED}
    return [text for text, kind in zip(tokens, kinds, strict=False) if kind in special]


def _vocabulary(header: _Header) -> tuple[list[str], list[int]]:
    found: dict[str, Any] = {_TOKENS: [], _KINDS: []}
    left = set(found)
    for _ in range(header.begin()):
        name = header.string()
        value = header.value()
        if name in left:
            found[name] = value
            left.remove(name)
        if not left:
            break
    return found[_TOKENS], found[_KINDS]


class _Header:
    """Reads a header's entries one after another."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def begin(self) -> int:
        """How many entries follow."""
        magic, version, _, entries = struct.unpack("<4sIQQ", self._file.read(24))
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"it is no GGUF file of version 2 or 3 ({magic!r}, {version})")
        return int(entries)

    def value(self) -> Any:
        return self._of(*self._unpack("I"))

    def string(self) -> str:
        (length,) = self._unpack("Q")
        return self._file.read(length).decode("utf-8", "replace")

    def _of(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            of, length = self._unpack("IQ")
            if of in _SCALARS:
                return list(self._unpack(f"{length}{_SCALARS[of]}"))
            return [self._of(of) for _ in range(length)]
        return self._unpack(_SCALARS[kind])[0]

    def _unpack(self, form: str) -> tuple[Any, ...]:
        form = f"<{form}"
        return struct.unpack(form, self._file.read(struct.calcsize(form)))
