"""Whisper's weights from CTranslate2's file into whisper.cpp's, so that both run the same model.

The target is the format that whisper.cpp's ``models/convert-pt-to-ggml.py`` writes: hyper-
parameters, mel filters, vocabulary, then one tensor after another, in float16 where it does so.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x67676D6C
_CT2_TYPES = {0: "<f4", 4: "<f2"}
_HEAD_SIZE = 64
_AUDIO_CONTEXT = 1500
_N_FFT = 400
_FLOAT32_NAMES = {"encoder.conv1.bias", "encoder.conv2.bias", "encoder.positional_embedding",
                  "decoder.positional_embedding"}  # fmt: skip
Tensors = dict[str, NDArray[Any]]


def convert(folder: Path, target: Path) -> Path:
    """Write ``target`` from the CTranslate2 model in ``folder``, unless it is there already."""
    if target.is_file():
        return target
    tensors = read_ctranslate2(folder / "model.bin")
    part = target.with_suffix(".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        _write_head(file, tensors, folder)
        for name, tensor in renamed(tensors):
            _write_tensor(file, name, tensor)
    part.replace(target)
    return target


def read_ctranslate2(path: Path) -> Tensors:
    """Every float tensor of a ``model.bin``, by name."""
    data = path.read_bytes()
    at = 4

    def text() -> str:
        nonlocal at
        (size,) = struct.unpack_from("<H", data, at)
        at += 2 + size
        return data[at - size : at - 1].decode()

    text()
    _revision, count = struct.unpack_from("<II", data, at)
    at += 8
    tensors: Tensors = {}
    for _ in range(count):
        name = text()
        rank = data[at]
        shape = struct.unpack_from(f"<{rank}I", data, at + 1)
        at += 1 + 4 * rank
        kind, size = struct.unpack_from("<BI", data, at)
        at += 5
        if kind in _CT2_TYPES:
            tensors[name] = np.frombuffer(data, _CT2_TYPES[kind], size // int(_CT2_TYPES[kind][-1]),
                                          at).reshape(shape)  # fmt: skip
        at += size
    return tensors


def renamed(tensors: Tensors) -> Iterator[tuple[str, NDArray[Any]]]:
    """OpenAI's names; the matrices that CTranslate2 keeps together are taken apart."""
    for side in ("encoder", "decoder"):
        yield f"{side}.positional_embedding", tensors[f"{side}/position_encodings/encodings"]
        final = "ln_post" if side == "encoder" else "ln"
        yield from _norm(tensors, f"{side}/layer_norm", f"{side}.{final}")
        for layer in range(layers(tensors, side)):
            yield from _layer(tensors, f"{side}/layer_{layer}", f"{side}.blocks.{layer}")
    yield "decoder.token_embedding.weight", tensors["decoder/embeddings/weight"]
    for conv in ("conv1", "conv2"):
        yield f"encoder.{conv}.weight", tensors[f"encoder/{conv}/weight"]
        yield f"encoder.{conv}.bias", tensors[f"encoder/{conv}/bias"][:, np.newaxis]


def layers(tensors: Tensors, side: str) -> int:
    return len({name.split("/")[1] for name in tensors if name.startswith(f"{side}/layer_")}
               - {"layer_norm"})  # fmt: skip


def _layer(tensors: Tensors, old: str, new: str) -> Iterator[tuple[str, NDArray[Any]]]:
    yield from _norm(tensors, f"{old}/self_attention/layer_norm", f"{new}.attn_ln")
    yield from _split(tensors, f"{old}/self_attention/linear_0", new + ".attn", "query key value")
    yield from _linear(tensors, f"{old}/self_attention/linear_1", f"{new}.attn.out")
    if f"{old}/attention/linear_0/weight" in tensors:
        yield from _norm(tensors, f"{old}/attention/layer_norm", f"{new}.cross_attn_ln")
        yield from _linear(tensors, f"{old}/attention/linear_0", f"{new}.cross_attn.query")
        yield from _split(tensors, f"{old}/attention/linear_1", new + ".cross_attn", "key value")
        yield from _linear(tensors, f"{old}/attention/linear_2", f"{new}.cross_attn.out")
    yield from _norm(tensors, f"{old}/ffn/layer_norm", f"{new}.mlp_ln")
    yield from _linear(tensors, f"{old}/ffn/linear_0", f"{new}.mlp.0")
    yield from _linear(tensors, f"{old}/ffn/linear_1", f"{new}.mlp.2")


def _split(tensors: Tensors, old: str, new: str, parts: str) -> Iterator[tuple[str, NDArray[Any]]]:
    names = parts.split()
    weights = np.split(tensors[f"{old}/weight"], len(names))
    biases = np.split(tensors[f"{old}/bias"], len(names))
    for name, weight, bias in zip(names, weights, biases, strict=True):
        yield f"{new}.{name}.weight", weight
        if name != "key":  # Whisper's keys have no bias
            yield f"{new}.{name}.bias", bias


def _linear(tensors: Tensors, old: str, new: str) -> Iterator[tuple[str, NDArray[Any]]]:
    yield f"{new}.weight", tensors[f"{old}/weight"]
    yield f"{new}.bias", tensors[f"{old}/bias"]


def _norm(tensors: Tensors, old: str, new: str) -> Iterator[tuple[str, NDArray[Any]]]:
    yield f"{new}.weight", tensors[f"{old}/gamma"]
    yield f"{new}.bias", tensors[f"{old}/beta"]


def _write_head(file: BinaryIO, tensors: Tensors, folder: Path) -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    width = tensors["encoder/conv1/weight"].shape[0]
    mels = tensors["encoder/conv1/weight"].shape[1]
    words, text_context = (tensors["decoder/embeddings/weight"].shape[0],
                           tensors["decoder/position_encodings/encodings"].shape[0])  # fmt: skip
    heads = width // _HEAD_SIZE
    file.write(struct.pack(
        "<12i", _MAGIC, words, _AUDIO_CONTEXT, width, heads, layers(tensors, "encoder"),
        text_context, width, heads, layers(tensors, "decoder"), mels, 1,
    ))  # fmt: skip
    filters = FeatureExtractor(feature_size=mels).mel_filters.astype("<f4")
    assert filters.shape == (mels, _N_FFT // 2 + 1)
    file.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
    vocabulary = list(_vocabulary(folder / "tokenizer.json"))
    file.write(struct.pack("<i", len(vocabulary)))
    for word in vocabulary:
        file.write(struct.pack("<i", len(word)) + word)


def _vocabulary(path: Path) -> Iterator[bytes]:
    """The ordinary tokens as bytes, in order; whisper.cpp knows the special ones itself."""
    described = json.loads(path.read_text("utf-8"))
    words = {number: word for word, number in described["model"]["vocab"].items()}
    special = {token["id"] for token in described["added_tokens"]}
    to_byte = {char: value for value, char in _byte_characters().items()}
    for number in range(min(special)):
        yield bytes(to_byte[char] for char in words.get(number, ""))


def _byte_characters() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte (``bytes_to_unicode``)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [value for value in range(256) if value not in plain]
    return {value: chr(value) for value in plain} | {
        value: chr(256 + index) for index, value in enumerate(others)
    }


def _write_tensor(file: BinaryIO, name: str, tensor: NDArray[Any]) -> None:
    half = tensor.ndim >= 2 and name not in _FLOAT32_NAMES
    data = np.ascontiguousarray(tensor, "<f2" if half else "<f4")
    encoded = name.encode()
    file.write(struct.pack("<3i", data.ndim, len(encoded), int(half)))
    file.write(struct.pack(f"<{data.ndim}i", *reversed(data.shape)))
    file.write(encoded + data.tobytes())
