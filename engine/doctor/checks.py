"""What the facts of a machine mean for the engine. Pure: facts in, findings out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from engine.doctor.finding import Finding, failure, note, ok, warning
from engine.doctor.machine import Device, Machine

GIB = 1 << 30
_MEMORY_WANTED = 2 * GIB  # the embedded models with their caches take about one of them
_DEVICE_MEMORY_WANTED = 4 * GIB
_OLDEST = (8, 0)
# CUresult of cuInit, CUDA Driver API; what usually brings it about.
_DRIVER_TROUBLE = {
    100: ("the driver sees no device", "give the container the GPU (`--gpus all`)"),
    802: ("the system is not yet initialised", "start nvidia-fabricmanager, or wait for it"),
    803: (
        "the driver's library and kernel module are of different releases",
        "reboot, or load the kernel module of the installed release",
    ),
    804: ("the forward-compatibility library does not suit this GPU", "update the driver"),
}


def check_machine(machine: Machine, device: str, asr: str = "auto") -> list[Finding]:
    """Findings in the order in which to read them; ``device`` and ``asr`` as they are set."""
    findings = [_processor(machine), _memory(machine), _versions(machine)]
    if device == "cpu":
        return [*findings, note("gpu", "not looked at: `device` is cpu")]
    return [*findings, *_gpu(machine, device, asr)]


def _processor(machine: Machine) -> Finding:
    detail = machine.processor.describe()
    if machine.processor.cores < 2:
        return warning(
            "processor",
            f"{detail}; speech and replies take turns on it",
            "give the process two cores or more",
        )
    return ok("processor", detail)


def _memory(machine: Machine) -> Finding:
    detail = f"{_gib(machine.available_bytes)} of {_gib(machine.memory_bytes)} available"
    if machine.available_bytes < _MEMORY_WANTED:
        return warning("memory", detail, "free some, or choose smaller models (docs/DEPLOYMENT.md)")
    return ok("memory", detail)


def _versions(machine: Machine) -> Finding:
    here = [f"{name} {version}" for name, version in machine.versions.items() if version]
    return ok("versions", ", ".join(here))


def _gpu(machine: Machine, device: str, asr: str) -> Iterator[Finding]:
    """Driver, torch, devices and libraries, until one is missing that the rest needs."""
    told = failure if device == "cuda" else note
    if machine.driver is None:
        yield told(
            "driver",
            "there is no NVIDIA driver, so models run on the CPU"
            if device == "auto"
            else "there is no NVIDIA driver",
            "" if device == "auto" else "install one, or use --device cpu",
        )
        return
    for finding in (_driver(machine), _build(machine), _devices(machine)):
        if finding.status == "failure":
            # `auto` goes on without the GPU: worth knowing, and no reason not to serve
            yield finding if device == "cuda" else replace(finding, status="warning")
            return
        yield finding
    for index, found in enumerate(machine.devices):
        yield _device(machine, index, found)
    yield _libraries(machine, asr)
    if machine.compiler is None:
        yield warning(
            "compiler",
            "there is no C compiler, which Triton needs to start its kernels",
            "install gcc and Python's headers",
        )


def _driver(machine: Machine) -> Finding:
    driver = machine.driver
    assert driver is not None
    detail = f"{driver.release or 'of unknown release'}, CUDA up to {_dotted(driver.cuda)}"
    if driver.status:
        why, advice = _DRIVER_TROUBLE.get(
            driver.status, ("it does not start", "see `nvidia-smi` and the kernel's log")
        )
        return failure("driver", f"{detail}: {why} (cuInit gives {driver.status})", advice)
    return ok("driver", detail)


def _build(machine: Machine) -> Finding:
    """Whether torch was built for CUDA, and for one that the driver speaks."""
    assert machine.driver is not None
    version = machine.versions.get("torch")
    if machine.torch_cuda is None:
        return failure(
            "torch",
            f"torch {version} is a build for the CPU",
            "install one for CUDA (requirements-cuda.lock), or use --device cpu",
        )
    detail = f"torch {version}, CUDA {machine.torch_cuda}"
    wanted = int(machine.torch_cuda.partition(".")[0])
    speaks = machine.driver.cuda
    if speaks is not None and speaks[0] < wanted:
        return failure(
            "torch",
            f"{detail}, and the driver speaks CUDA {_dotted(speaks)}",
            f"update the driver to one for CUDA {wanted}",
        )
    return ok("torch", detail)


def _devices(machine: Machine) -> Finding:
    if machine.devices:
        return ok("devices", f"torch finds {len(machine.devices)}")
    return failure(
        "devices",
        machine.devices_error or "torch finds no CUDA device",
        "see whether `nvidia-smi` lists one; CUDA_VISIBLE_DEVICES may hide it",
    )


def _device(machine: Machine, index: int, device: Device) -> Finding:
    check = f"device {index}"
    major, minor = device.capability
    free, total = _gib(device.free_bytes), _gib(device.memory_bytes)
    detail = f"{device.name}, compute capability {major}.{minor}, {free} of {total} free"
    if not _runs_here(device.capability, machine.torch_archs):
        return failure(
            check,
            f"{detail}: this torch holds no code for it",
            f"install a torch whose architectures include sm_{major}{minor}",
        )
    if device.capability < _OLDEST:
        return warning(
            check,
            f"{detail}: older than 8.0, for which nothing here is built or tested",
            "use a newer GPU, or --device cpu",
        )
    if device.free_bytes < _DEVICE_MEMORY_WANTED:
        return warning(check, detail, "free some, or choose smaller models (docs/DEPLOYMENT.md)")
    return ok(check, detail)


def _runs_here(capability: tuple[int, int], archs: tuple[str, ...]) -> bool:
    """Code for ``sm_XY`` runs on X.Z with Z >= Y; ``compute_XY`` is compiled for any later one."""
    for arch in archs:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", arch)
        if found is None:
            continue
        built = int(found[2]), int(found[3])
        if found[1] == "sm" and built[0] == capability[0] and built[1] <= capability[1]:
            return True
        if found[1] == "compute" and built <= capability:
            return True
    return False


def _libraries(machine: Machine, asr: str) -> Finding:
    """What CTranslate2 opens when it first computes; on a GPU, ``auto`` means it too."""
    missing = [name for name, loads in machine.libraries.items() if not loads]
    if not missing:
        return ok("libraries", f"{', '.join(machine.libraries)} loads")
    detail = f"{', '.join(missing)} cannot be loaded"
    if asr == "torch":
        return note("libraries", f"{detail}: only CTranslate2 needs it, and `asr` is torch")
    return failure(
        "libraries",
        f"{detail}, and CTranslate2 needs it on a GPU",
        "install nvidia-cublas-cu12 and put its `lib` folder on LD_LIBRARY_PATH",
    )


def _gib(count: int) -> str:
    return f"{count / GIB:.1f} GiB"


def _dotted(version: tuple[int, int] | None) -> str:
    return "unknown" if version is None else f"{version[0]}.{version[1]}"
