"""Facts of the machine that the engine's models depend on. Thin I/O: nothing is judged here."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from engine.processor import Processor, processor

PACKAGES = ("torch", "ctranslate2", "triton", "xllamacpp", "exllamav2", "flash-attn")
# CTranslate2's wheel opens the first by name when it first multiplies on a GPU.
LIBRARIES = ("libcublas.so.12",)


@dataclass(frozen=True, slots=True)
class Device:
    """One CUDA device; memory in bytes."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Driver:
    """What ``libcuda`` says of itself. ``cuda`` is the newest CUDA version that it speaks.

    ``status`` is that of ``cuInit``: 0 if it works (the CUDA Driver API's ``CUresult``).
    """

    release: str | None
    cuda: tuple[int, int] | None
    status: int


@dataclass(frozen=True, slots=True)
class Machine:
    """``driver`` is None where there is no ``libcuda``; ``torch_archs`` are as ``sm_90``."""

    processor: Processor
    memory_bytes: int
    available_bytes: int
    driver: Driver | None
    devices: tuple[Device, ...]
    devices_error: str | None
    torch_cuda: str | None
    torch_archs: tuple[str, ...]
    libraries: dict[str, bool]
    compiler: str | None
    versions: dict[str, str | None]


def examine() -> Machine:
    """Look at this machine; nothing it lacks is an error here."""
    memory = _memory(_read("/proc/meminfo"))
    limit = memory_limit(_read("/sys/fs/cgroup/memory.max"), memory.get("MemTotal", 0))
    devices, devices_error = _devices()
    return Machine(
        processor=processor(),
        memory_bytes=limit,
        available_bytes=min(limit, memory.get("MemAvailable", 0)),
        driver=_driver(),
        devices=devices,
        devices_error=devices_error,
        torch_cuda=torch.version.cuda,
        torch_archs=tuple(torch.cuda.get_arch_list()),
        libraries={name: _loads(name) for name in LIBRARIES},
        compiler=os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"),
        versions=_versions(PACKAGES),
    )


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text("utf-8", "replace") if file.exists() else ""


def _memory(meminfo: str) -> dict[str, int]:
    lines = re.findall(r"^(\w+):\s+(\d+) kB$", meminfo, re.MULTILINE)
    return {name: int(kib) << 10 for name, kib in lines}


def memory_limit(memory_max: str, total_bytes: int) -> int:
    """A container's memory limit (cgroup v2), where there is one below what the machine has."""
    return min(total_bytes, int(memory_max)) if memory_max.strip().isdigit() else total_bytes


def _driver() -> Driver | None:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    number = ctypes.c_int(0)
    status = int(cuda.cuInit(0))
    cuda.cuDriverGetVersion(ctypes.byref(number))
    release = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", _read("/proc/driver/nvidia/version"))
    return Driver(
        release=release.group(1) if release else None,
        cuda=cuda_version(number.value) if number.value else None,
        status=status,
    )


def cuda_version(number: int) -> tuple[int, int]:
    """CUDA writes version 12.8 as 12080."""
    return number // 1000, number % 1000 // 10


def _devices() -> tuple[tuple[Device, ...], str | None]:
    if not torch.cuda.is_available():
        return (), None
    devices = []
    try:
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            free, total = torch.cuda.mem_get_info(index)
            capability = (properties.major, properties.minor)
            devices.append(Device(properties.name, capability, total, free))
    except RuntimeError as error:  # a device that is there and does not answer
        return tuple(devices), str(error).splitlines()[0]
    return tuple(devices), None


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _versions(packages: Iterable[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
