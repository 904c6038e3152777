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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.least_work import Shapes, least
from benchmarks.load import results
from benchmarks.peers.ggml import layers, read_ctranslate2
from engine.models import resolve
from server.sources import load as load_settings

_PRODUCT = 1024
_COPY_BYTES = 256 << 20
_REPEATS = 30


def shapes(model: str = "base") -> Shapes:
    tensors = read_ctranslate2(resolve(model, "asr", load_settings({}, os.environ).home)
                               / "model.bin")  # fmt: skip
    width, mels, _ = tensors["encoder/conv1/weight"].shape
    words = tensors["decoder/embeddings/weight"].shape[0]
    return Shapes(width, layers(tensors, "encoder"), layers(tensors, "decoder"), mels, words)


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
    result = results.head("limits", {"model": "base"})
    result |= {"shapes": asdict(model), "peaks": peaks(), "least": least(model)}
    results.write(result, output)
    print(result["peaks"], result["least"], sep="\n")


if __name__ == "__main__":
    main()
