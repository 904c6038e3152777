"""What every benchmark may ask for, and what a file of results says about where it was made.

Results go to ``benchmarks/results`` when asked for (``--benchmark-autosave``, as `make bench`
does). Nothing here compares a figure with a target: machines differ, and the reader judges.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.crowd import Background
from engine.config import EngineSettings
from engine.models import find, resolve
from server.audio_file import read_pcm
from server.demo import QUESTION
from server.process import ServerProcess
from server.sources import load

_PACKAGES = ("antiphon", "ctranslate2", "numpy", "torch", "uvloop", "websockets", "xllamacpp")


def pytest_configure(config: pytest.Config) -> None:
    config.option.benchmark_storage = f"file://{Path(__file__).parent / 'results'}"
    config.option.benchmark_group_by = "func"


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """What pytest-benchmark's tables leave out: percentiles, tokens, memory."""
    for benchmark in config._benchmarksession.benchmarks:
        if benchmark.extra_info:
            terminalreporter.write_sep("-", benchmark.name)
        for name, value in benchmark.extra_info.items():
            terminalreporter.write_line(f"{name:24} {value:12.3f}")


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: Any) -> None:
    machine_info.pop("node")  # the machine's name is nobody's business
    machine_info["cpu"].pop("flags", None)
    machine_info["cpus"] = len(os.sched_getaffinity(0))
    machine_info["load_average"] = os.getloadavg()
    machine_info["versions"] = {name: metadata.version(name) for name in _PACKAGES}


@pytest.fixture(scope="session")
def models_home() -> Path:
    return load({}, os.environ).home


@pytest.fixture(scope="session")
def settings(models_home: Path) -> EngineSettings:
    """The default settings: what a server without flags has."""
    return EngineSettings(home=models_home)


@pytest.fixture(scope="session")
def smollm2(models_home: Path) -> Path:
    return resolve("smollm2-135m-instruct", "llm", models_home)


@pytest.fixture(scope="session")
def utterance(models_home: Path) -> bytes:
    """Five seconds of speech, 16 kHz s16 PCM: a question and a sentence."""
    sentence = find("phrases").folder(models_home) / "en" / "quick_brown_fox.wav"
    return b"".join((*read_pcm(QUESTION), *read_pcm(sentence)))


@pytest.fixture(scope="session")
def utterance_samples(utterance: bytes) -> np.ndarray:
    """The same as float32 in [-1, 1]."""
    return np.frombuffer(utterance, "<i2").astype(np.float32) / 32768


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """``antiphon serve`` with its defaults, in a process of its own."""
    with ServerProcess() as process:
        process.start()
        yield process


@pytest.fixture(scope="session")
def background() -> Iterator[Background]:
    """An event loop on a thread, for clients that talk while something is measured."""
    background = Background()
    yield background
    background.close()
