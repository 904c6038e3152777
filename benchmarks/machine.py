"""What every file of results says about where and when it was made."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from typing import Any

import psutil

from engine.processor import processor

PACKAGES = (
    *("antiphon", "av", "ctranslate2", "faster-whisper", "numpy", "torch", "websockets"),
    "xllamacpp",
)


def describe() -> dict[str, Any]:
    """Processor, what limits it, memory, load, date and versions, for the head of a JSON file."""
    here = processor()
    return {
        "device": here.name,
        "isa": here.isa,
        "bfloat16": here.bfloat16,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
