"""What is measured, in its order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from benchmarks.gpu.bench import Bench, Record


@dataclass(frozen=True, slots=True)
class Part:
    """``limit_s``: it is stopped then, and what it has found is kept. ``needs_cuda``: it is
    skipped on a CPU."""

    module: str
    says: str
    limit_s: float
    needs_cuda: bool = False

    def measure(self, bench: Bench, record: Record) -> None:
        """Imported only here, so that a library that is missing fails one part."""
        run: Callable[[Bench, Record], None] = import_module(
            f"benchmarks.gpu.{self.module}"
        ).measure
        run(bench, record)


PARTS = {
    "tests": Part("cuda_tests", "tests that a GPU decides", 400, needs_cuda=True),
    "kernels": Part("kernel_forms", "each kernel against its torch form", 240),
    "encoder": Part("encoder", "Whisper's encoder, batch 1 to 256", 120),
    "decoder": Part("decoder", "Whisper's decoder steps, with and without kernels, graphs", 400),
    "vad": Part("vad", "VAD's step, 64 to 4,096 slots", 60),
    "capacity": Part("capacity", "how many speak at once with p95 final under the target", 560),
    "replies": Part("replies", "exllamav2: paged against unpaged, 1 to 64 sessions", 560, True),
}
