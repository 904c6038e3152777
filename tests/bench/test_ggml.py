"""Whisper's weights for whisper.cpp: the same numbers under other names."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.ggml import _vocabulary, convert, layers, read_ctranslate2, renamed

pytestmark = pytest.mark.models


def test_every_weight_is_there_once_and_unchanged(whisper_tiny: Path) -> None:
    tensors = read_ctranslate2(whisper_tiny / "model.bin")
    named = list(renamed(tensors))
    assert len({name for name, _ in named}) == len(named) == 11 + 15 * 4 + 24 * 4
    assert layers(tensors, "encoder") == layers(tensors, "decoder") == 4
    new = dict(named)
    together = tensors["decoder/layer_2/self_attention/linear_0/weight"]
    parts = [new[f"decoder.blocks.2.attn.{name}.weight"] for name in ("query", "key", "value")]
    np.testing.assert_array_equal(np.concatenate(parts), together)
    assert "encoder.blocks.0.attn.key.bias" not in new
    assert not tensors["encoder/layer_0/self_attention/linear_0/bias"][384:768].any()


def test_the_file_is_what_whisper_cpp_reads(whisper_tiny: Path, tmp_path: Path) -> None:
    data = convert(whisper_tiny, tmp_path / "ggml.bin").read_bytes()
    head = struct.unpack_from("<12i", data)
    assert head == (0x67676D6C, 51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1)
    mels, bins = struct.unpack_from("<2i", data, 48)
    assert (mels, bins) == (80, 201)
    at = 56 + 4 * mels * bins
    (words,) = struct.unpack_from("<i", data, at)
    assert words == 50256
    assert data[at + 4 : at + 9] == struct.pack("<i", 1) + b"!"


def test_tokens_are_bytes_and_not_their_stand_ins(whisper_tiny: Path) -> None:
    words = list(_vocabulary(whisper_tiny / "tokenizer.json"))
    assert b" the" in words
    assert b"\n" in words
    assert "é".encode() in words


def test_a_file_that_is_there_is_kept(whisper_tiny: Path, tmp_path: Path) -> None:
    there = tmp_path / "ggml.bin"
    there.write_bytes(b"kept")
    assert convert(whisper_tiny, there).read_bytes() == b"kept"
