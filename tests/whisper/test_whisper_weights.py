"""Reading model.bin: what it holds, and every way in which it can be broken."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import ModelError
from engine.whisper.spec import read_spec
from engine.whisper.weights import read_model_bin


def _string(text: str) -> bytes:
    raw = text.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def _variable(name: str, array: np.ndarray, code: int) -> bytes:
    head = _string(name) + struct.pack("<B", array.ndim)
    head += struct.pack(f"<{array.ndim}I", *array.shape)
    return head + struct.pack("<BI", code, array.nbytes) + array.tobytes()


def _file(spec: str = "WhisperSpec", version: int = 6, alias: str = "a") -> bytes:
    half = np.arange(6, dtype=np.float16).reshape(2, 3)
    brain = (np.array([1.0, -2.0], dtype=np.float32).view(np.uint32) >> 16).astype(np.int16)
    scalar = np.array(7, dtype=np.int16)
    parts = [
        struct.pack("<I", version) + _string(spec) + struct.pack("<II", 3, 3),
        _variable("a", half, 4) + _variable("b", brain, 5) + _variable("n", scalar, 2),
        struct.pack("<I", 1) + _string("again") + _string(alias),
    ]
    return b"".join(parts)


def test_variables_aliases_and_types(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(_file())
    weights = read_model_bin(path)
    assert weights["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert weights["a"].dtype is torch.float16
    assert weights["b"].tolist() == [1.0, -2.0]
    assert int(weights["n"]) == 7
    assert weights["again"] is weights["a"]


@pytest.mark.parametrize("cut", range(0, len(_file()), 7))
def test_a_file_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(_file()[:cut])
    with pytest.raises(ModelError, match=r"model\.bin"):
        read_model_bin(path)


@pytest.mark.parametrize(
    "broken",
    [_file(spec="TransformerSpec"), _file(version=5), _file(alias="nobody"), b"\xff" * 4096],
    ids=["spec", "version", "alias", "noise"],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(broken)
    with pytest.raises(ModelError):
        read_model_bin(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        read_model_bin(tmp_path / "model.bin")


@pytest.mark.models
def test_the_sizes_of_base(whisper_base: Path) -> None:
    spec = read_spec(whisper_base, read_model_bin(whisper_base / "model.bin"))
    assert (spec.n_mels, spec.width, spec.heads, spec.head_dim) == (80, 512, 8, 64)
    assert (spec.encoder_layers, spec.decoder_layers, spec.vocabulary) == (6, 6, 51_865)
    assert (spec.max_positions, spec.max_tokens) == (1500, 448)
    assert len(spec.language_ids) == 99
    assert spec.alignment_heads[0] == (3, 1)


@pytest.mark.models
def test_a_folder_without_config_is_refused(whisper_base: Path, tmp_path: Path) -> None:
    weights = read_model_bin(whisper_base / "model.bin")
    with pytest.raises(ModelError):
        read_spec(tmp_path, weights)
