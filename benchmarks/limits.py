"""What this machine and this model allow at most: ``python -m benchmarks.limits FILE``.

Peaks are measured; the least work that a second of speech needs is counted from the model's
shapes. A stage's share of the possible is one over the other.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.load import results
from benchmarks.peers.ggml import layers, read_ctranslate2
from engine.models import resolve
from server.sources import load as load_settings

POSITIONS_PER_S = 50
TOKENS_PER_S = 4.0
"""Of English speech: about three words."""
_PRODUCT = 1024
_COPY_BYTES = 256 << 20
_REPEATS = 30


@dataclass(frozen=True, slots=True)
class Shapes:
    """Of a Whisper model."""

    width: int
    encoder_layers: int
    decoder_layers: int
    mels: int
    words: int


def shapes(model: str = "base") -> Shapes:
    tensors = read_ctranslate2(resolve(model, "asr", load_settings({}, os.environ).home)
                               / "model.bin")  # fmt: skip
    width, mels, _ = tensors["encoder/conv1/weight"].shape
    words = tensors["decoder/embeddings/weight"].shape[0]
    return Shapes(width, layers(tensors, "encoder"), layers(tensors, "decoder"), mels, words)


def encoder_flop(model: Shapes, positions: int) -> float:
    """Multiplications and additions of one pass over so many positions (20 ms each)."""
    convolutions = 2 * positions * 3 * model.width * (2 * model.mels + model.width)
    matrices = 2 * positions * 12 * model.width**2
    attention = 4 * positions**2 * model.width
    return float(convolutions + model.encoder_layers * (matrices + attention))


def decoder_flop(model: Shapes, positions: int, tokens: int) -> float:
    """Of ``tokens`` tokens, each looked up once, over an encoded segment."""
    keys_and_values = 2 * positions * 2 * model.width**2
    matrices = 2 * 14 * model.width**2
    attention = 4 * (positions + tokens) * model.width
    head = 2 * model.width * model.words
    each = model.decoder_layers * (matrices + attention) + head
    return float(model.decoder_layers * keys_and_values + tokens * each)


def decoder_bytes(model: Shapes, tokens: int, bytes_per_weight: int) -> float:
    """Of weights, read anew for each token, as long as no other stream shares the pass."""
    weights = model.decoder_layers * 14 * model.width**2 + model.width * model.words
    return float(tokens * weights * bytes_per_weight)


def least(model: Shapes, utterance_s: float = 6.0) -> dict[str, float]:
    """What a second of speech needs if each is encoded once, without padding or partials."""
    positions = int(utterance_s * POSITIONS_PER_S)
    tokens = int(utterance_s * TOKENS_PER_S)
    return {
        "utterance_s": utterance_s,
        "tokens_per_s": TOKENS_PER_S,
        "encoder_gflop_per_s": encoder_flop(model, positions) / utterance_s / 1e9,
        "decoder_gflop_per_s": decoder_flop(model, positions, tokens) / utterance_s / 1e9,
        "decoder_gbyte_per_s_int8": decoder_bytes(model, tokens, 1) / utterance_s / 1e9,
    }


def peaks() -> dict[str, float]:
    """The best of several tries on all cores; GFLOP/s and GB/s."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    found = {}
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a = torch.randn(_PRODUCT, _PRODUCT).to(kind)
        found[f"product_{name}_gflops"] = _rate(lambda a=a: torch.mm(a, a))  # type: ignore[misc]
    b = torch.randint(-127, 127, (_PRODUCT, _PRODUCT), dtype=torch.int8)
    try:
        found["product_int8_gops"] = _rate(lambda: torch._int_mm(b, b))
    except RuntimeError as error:
        print(f"no int8 product here: {error}", file=sys.stderr)
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.empty_like(source)
    seconds = _best(lambda: np.copyto(target, source))
    found["copy_gbyte_per_s"] = 2 * _COPY_BYTES / seconds / 1e9
    return found


def _rate(work: Callable[[], Any]) -> float:
    return 2 * _PRODUCT**3 / _best(work) / 1e9


def _best(work: Callable[[], Any]) -> float:
    work()
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    model = shapes()
    result = results.start("limits", {"model": "base"})
    result |= {"shapes": asdict(model), "peaks": peaks(), "least": least(model)}
    results.write(result, output)
    print(result["peaks"], result["least"], sep="\n")


if __name__ == "__main__":
    main()
