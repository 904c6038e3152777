"""What this CPU multiplies natively, and what follows from it. The only place that asks.

``restrict`` makes a machine behave like a poorer one: torch, oneDNN, MKL and CTranslate2 then use
no instructions beyond the named set. Each library reads its variable once, when it is loaded, so
``restrict`` must run before any of them is imported. llama.cpp chooses its own code and does not
obey.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from engine.errors import ConfigError

Isa = Literal["native", "avx512", "avx2"]
"""``avx512`` has VNNI and neither bfloat16 nor AMX; ``avx2`` has no VNNI either."""

VARIABLE = "ANTIPHON_ISA"

_LIMITS: dict[str, dict[str, str]] = {
    "native": {},
    "avx512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512_E1",
        "CT2_FORCE_CPU_ISA": "AVX512",
    },
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "CT2_FORCE_CPU_ISA": "AVX2",
    },
}
_READERS = ("torch", "ctranslate2")


@dataclass(frozen=True, slots=True)
class Processor:
    """``isa`` is what limits it; ``bfloat16`` and ``float16``: multiplied by instructions of its
    own. Types that are emulated are hundreds of times slower, and count as missing."""

    name: str
    cores: int
    isa: Isa
    bfloat16: bool
    float16: bool

    @property
    def torch_types(self) -> tuple[str, ...]:
        """Number types in which torch multiplies natively, the fastest first."""
        fast = [name for name in ("bfloat16", "float16") if getattr(self, name)]
        return (*fast, "float32")

    def describe(self) -> str:
        """One line for people: the form that is taken, and why."""
        why = "native bfloat16" if self.bfloat16 else "no native bfloat16"
        limit = "" if self.isa == "native" else f", limited to {self.isa} by isa"
        cores = f"{self.cores} core{'s' if self.cores != 1 else ''}"
        return f"{self.name}, {cores}, {why}{limit}: Whisper in {self.torch_types[0]}"


def restrict(isa: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Limit this process and its children to ``isa``. Idempotent.

    Raises ``ConfigError`` for an unknown name, and where a library has been loaded that would
    have had to be told before.
    """
    if isa not in get_args(Isa):
        raise ConfigError(f"isa is one of {', '.join(get_args(Isa))}, not {isa!r}")
    missing = {k: v for k, v in _LIMITS[isa].items() if environ.get(k) != v}
    loaded = [name for name in _READERS if name in sys.modules]
    if missing and loaded:
        raise ConfigError(f"isa {isa}: {' and '.join(loaded)} was loaded before it could be told")
    environ.update(missing)
    environ[VARIABLE] = isa


def restrict_from_environment() -> None:
    """``restrict`` to what ``ANTIPHON_ISA`` names, where it is set."""
    if isa := os.environ.get(VARIABLE):
        restrict(isa)


def processor() -> Processor:
    """This processor, as far as ``restrict`` leaves it. Imports torch."""
    import torch

    isa = cast(Isa, os.environ.get(VARIABLE, "native"))
    native = isa == "native"
    cpu = torch.cpu
    return Processor(
        name=_name(),
        cores=len(os.sched_getaffinity(0)),
        isa=isa,
        bfloat16=native and bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()),
        float16=native and bool(cpu._is_amx_fp16_supported()),
    )


def _name() -> str:
    """The processor's own name for itself."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
