"""Machines that the tests do not run on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.doctor.checks import GIB
from engine.doctor.machine import Device, Driver, Machine
from engine.processor import Processor

H100 = Device("NVIDIA H100", (9, 0), 80 * GIB, 78 * GIB)
BLACKWELL = Device("NVIDIA RTX PRO 6000", (12, 0), 96 * GIB, 90 * GIB)
PASCAL = Device("NVIDIA GeForce GTX 1080", (6, 1), 8 * GIB, 7 * GIB)
TURING = Device("NVIDIA T4", (7, 5), 16 * GIB, 15 * GIB)

CPU_ONLY = Machine(
    processor=Processor("Xeon", 8, "native", bfloat16=True, float16=False),
    memory_bytes=32 * GIB,
    available_bytes=30 * GIB,
    driver=None,
    devices=(),
    devices_error=None,
    torch_cuda=None,
    torch_archs=(),
    libraries={"libcublas.so.12": False},
    compiler="/usr/bin/gcc",
    versions={"torch": "2.13.0", "exllamav2": None},
)
GPU_HOST = replace(
    CPU_ONLY,
    driver=Driver("580.95.05", (13, 0), 0),
    devices=(H100,),
    torch_cuda="13.0",
    torch_archs=("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"),
    libraries={"libcublas.so.12": True},
)


def gpu_host(**changes: Any) -> Machine:
    return replace(GPU_HOST, **changes)


def cpu_host(**changes: Any) -> Machine:
    return replace(CPU_ONLY, **changes)
