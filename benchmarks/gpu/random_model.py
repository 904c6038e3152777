"""A folder of random weights that is read like any other Whisper model's.

Speed does not depend on what the weights say, but the length of a text does. So the weights are
random with one exception: what the decoder says at a position is set, another token at each, and
the end of a text is suppressed. A text then has exactly as many tokens as its request allows
(``RowRequest.max_tokens``), never repeats itself, and the hypothesis of the first half of an
utterance is a true draft of the whole.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models
from torch import Tensor

from benchmarks.gpu.shapes import ModelShape

_VERSION, _REVISION = 6, 3
_INT16, _FLOAT16 = 2, 4  # CTranslate2's numbers for types
_ADDED = ("self_attention/linear_1/weight", "/attention/linear_2/weight", "ffn/linear_1/weight")
_ADDED_GAIN = 0.1
"""What a block adds is small beside the position, which alone decides the token."""
_SURE = 30.0
"""The logit of the token that is set; those of other tokens stay below a third of it."""
Parts = Iterator[tuple[str, tuple[int, ...]]]


def write_folder(shape: ModelShape, folder: Path, seed: int = 1) -> Path:
    """Write model.bin (float16), config.json and tokenizer.json; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    special = special_tokens(shape)
    config = {
        "suppress_ids": [special["<|endoftext|>"]],
        "suppress_ids_begin": [],
        "lang_ids": [special[f"<|{name}|>"] for name in languages(shape)],
        "alignment_heads": [[shape.decoder_layers - 1, 0]],
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    _tokenizer(shape).save(str(folder / "tokenizer.json"))
    with (folder / "model.bin").open("wb") as file:
        _write_model(file, shape, torch.Generator().manual_seed(seed))
    return folder


def languages(shape: ModelShape) -> list[str]:
    """Names in place of the real ones, but for English."""
    return ["en", *(f"l{i}" for i in range(1, shape.languages))]


def special_tokens(shape: ModelShape) -> dict[str, int]:
    """Ids in Whisper's own order, up to where timestamps begin."""
    tasks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    names = ["endoftext", "startoftranscript", *languages(shape), *tasks]
    return {f"<|{name}|>": shape.text_tokens + i for i, name in enumerate(names)}


def weight_shapes(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Every weight by its name in CTranslate2's file; the projection is the embeddings' alias."""
    width, found = shape.width, dict[str, tuple[int, ...]]()
    found["encoder/conv1/weight"], found["encoder/conv1/bias"] = (width, shape.mels, 3), (width,)
    found["encoder/conv2/weight"], found["encoder/conv2/bias"] = (width, width, 3), (width,)
    found["encoder/position_encodings/encodings"] = (shape.positions, width)
    found["decoder/position_encodings/encodings"] = (shape.tokens, width)
    found["decoder/embeddings/weight"] = (shape.vocabulary, width)
    for part, layers in (("encoder", shape.encoder_layers), ("decoder", shape.decoder_layers)):
        found |= dict(_norm(f"{part}/layer_norm", width))
        for i in range(layers):
            found |= dict(_layer(f"{part}/layer_{i}", width, hears=part == "decoder"))
    return found


def _layer(name: str, width: int, *, hears: bool) -> Parts:
    yield from _norm(f"{name}/self_attention/layer_norm", width)
    yield from _linear(f"{name}/self_attention/linear_0", 3 * width, width)
    yield from _linear(f"{name}/self_attention/linear_1", width, width)
    if hears:
        yield from _norm(f"{name}/attention/layer_norm", width)
        yield from _linear(f"{name}/attention/linear_0", width, width)
        yield from _linear(f"{name}/attention/linear_1", 2 * width, width)
        yield from _linear(f"{name}/attention/linear_2", width, width)
    yield from _norm(f"{name}/ffn/layer_norm", width)
    yield from _linear(f"{name}/ffn/linear_0", 4 * width, width)
    yield from _linear(f"{name}/ffn/linear_1", width, 4 * width)


def _linear(name: str, out: int, width: int) -> Parts:
    yield f"{name}/weight", (out, width)
    yield f"{name}/bias", (out,)


def _norm(name: str, width: int) -> Parts:
    yield f"{name}/gamma", (width,)
    yield f"{name}/beta", (width,)


def _write_model(file: BinaryIO, shape: ModelShape, source: torch.Generator) -> None:
    """The format is told in ``engine/whisper/weights.py``."""
    weights = weight_shapes(shape)
    positions = torch.randn(weights["decoder/position_encodings/encodings"], generator=source)
    file.write(struct.pack("<I", _VERSION) + _text("WhisperSpec"))
    file.write(struct.pack("<II", _REVISION, len(weights) + 2))
    for part in ("encoder", "decoder"):
        file.write(_head(f"{part}/num_heads", (), _INT16, 2))
        file.write(struct.pack("<h", shape.heads))
    for name, sizes in weights.items():
        weight = _random(name, sizes, source)
        if name == "decoder/position_encodings/encodings":
            weight = positions
        elif name == "decoder/embeddings/weight":
            weight[said_at(shape)] = _SURE * positions / shape.width
        file.write(_head(name, sizes, _FLOAT16, 2 * prod(sizes)))
        file.write(weight.to(torch.float16).numpy().data)
    file.write(struct.pack("<I", 1))
    file.write(_text("decoder/projection/weight") + _text("decoder/embeddings/weight"))


def said_at(shape: ModelShape) -> Tensor:
    """The token that follows each of the decoder's positions: all of them text, all different."""
    order = np.random.default_rng(shape.tokens).permutation(shape.text_tokens)
    return torch.from_numpy(order[: shape.tokens])


def _random(name: str, sizes: tuple[int, ...], source: torch.Generator) -> Tensor:
    if name.endswith("/gamma"):
        return torch.ones(sizes)
    if name.endswith(("/beta", "/bias")):
        return torch.zeros(sizes)
    weight = torch.randn(sizes, generator=source)
    if name.endswith(("embeddings/weight", "encodings")):
        return weight.mul_(0.02)
    gain = _ADDED_GAIN if name.endswith(_ADDED) else 1.0
    return weight.mul_(gain * prod(sizes[1:]) ** -0.5)


def _head(name: str, sizes: tuple[int, ...], kind: int, data_bytes: int) -> bytes:
    dimensions = struct.pack(f"<B{len(sizes)}I", len(sizes), *sizes)
    return _text(name) + dimensions + struct.pack("<BI", kind, data_bytes)


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _tokenizer(shape: ModelShape) -> Tokenizer:
    """A word of four letters for each token of text: no two texts of different words are alike."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pick = np.random.default_rng(0).integers(0, len(letters), (shape.text_tokens, 4))
    words = {f"{''.join(letters[i] for i in row)}{n}": n for n, row in enumerate(pick)}
    vocabulary = words | special_tokens(shape)
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=next(iter(words))))
    made.decoder = decoders.Fuse()
    return made
