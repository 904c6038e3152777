"""What the doctor makes of machines of many kinds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machines import BLACKWELL, CPU_ONLY, H100, PASCAL, TURING, cpu_host, gpu_host

from engine.doctor.checks import GIB, check_machine
from engine.doctor.finding import Finding
from engine.doctor.machine import Driver, Machine


def of(machine: Machine, check: str, device: str = "cuda") -> Finding:
    found = [f for f in check_machine(machine, device) if f.check == check]
    assert len(found) == 1, [f.check for f in check_machine(machine, device)]
    return found[0]


def statuses(machine: Machine, device: str = "auto") -> set[str]:
    return {finding.status for finding in check_machine(machine, device)}


def test_a_whole_gpu_host_is_well() -> None:
    assert statuses(gpu_host(), "cuda") == {"ok"}
    assert "H100" in of(gpu_host(), "device 0").detail


def test_a_machine_without_a_gpu_is_well_unless_cuda_is_asked_for() -> None:
    assert statuses(cpu_host()) == {"ok", "note"}
    assert of(cpu_host(), "driver", "cuda").status == "failure"
    assert "--device cpu" in of(cpu_host(), "driver", "cuda").advice


def test_the_gpu_is_not_looked_at_where_the_cpu_is_asked_for() -> None:
    broken = gpu_host(driver=Driver(None, None, 999), devices=())
    assert statuses(broken, "cpu") == {"ok", "note"}


@pytest.mark.parametrize(
    ("status", "word"), [(100, "--gpus all"), (803, "reboot"), (999, "nvidia-smi")]
)
def test_a_driver_that_does_not_start(status: int, word: str) -> None:
    finding = of(gpu_host(driver=Driver("580.1", (13, 0), status), devices=()), "driver")
    assert finding.status == "failure"
    assert str(status) in finding.detail
    assert word in finding.advice


def test_a_torch_without_cuda_beside_a_driver() -> None:
    finding = of(gpu_host(torch_cuda=None, torch_archs=(), devices=()), "torch")
    assert finding.status == "failure"
    assert "requirements-cuda.lock" in finding.advice


def test_a_driver_too_old_for_torch() -> None:
    finding = of(gpu_host(driver=Driver("550.1", (12, 4), 0), devices=()), "torch")
    assert finding.status == "failure"
    assert "update the driver to one for CUDA 13" in finding.advice


def test_a_newer_minor_version_of_cuda_needs_no_newer_driver() -> None:
    older = gpu_host(torch_cuda="12.8", driver=Driver("535.1", (12, 2), 0))
    assert of(older, "torch").status == "ok"


def test_a_driver_without_devices() -> None:
    finding = of(gpu_host(devices=()), "devices")
    assert finding.status == "failure"
    assert "CUDA_VISIBLE_DEVICES" in finding.advice


def test_a_device_that_does_not_answer_says_why() -> None:
    lost = gpu_host(devices=(), devices_error="CUDA error: device-side fault")
    assert "device-side fault" in of(lost, "devices").detail


def test_devices_that_torch_has_no_code_for() -> None:
    finding = of(gpu_host(devices=(PASCAL,)), "device 0")
    assert finding.status == "failure"
    assert "sm_61" in finding.advice


def test_an_old_device_that_torch_still_runs_on() -> None:
    assert of(gpu_host(devices=(TURING,)), "device 0").status == "warning"


@pytest.mark.parametrize(
    ("capability", "archs", "runs"),
    [
        ((8, 9), ("sm_80",), True),  # a later minor runs its major's code
        ((8, 0), ("sm_86",), False),
        ((12, 0), ("sm_90",), False),
        ((12, 0), ("sm_90", "compute_90"), True),
        ((9, 0), ("sm_90a",), True),
        ((9, 0), ("gfx942",), False),
    ],
)
def test_which_code_runs_on_which_device(
    capability: tuple[int, int], archs: tuple[str, ...], runs: bool
) -> None:
    device = replace(H100, capability=capability)
    finding = of(gpu_host(devices=(device,), torch_archs=archs), "device 0")
    assert (finding.status == "ok") is runs


def test_auto_goes_on_without_a_gpu_that_does_not_work() -> None:
    broken = gpu_host(driver=Driver("580.1", (13, 0), 999), devices=())
    assert of(broken, "driver", "auto").status == "warning"
    assert "failure" not in statuses(broken, "auto")
    assert "failure" in statuses(gpu_host(libraries={"libcublas.so.12": False}), "auto")


def test_every_device_has_a_line() -> None:
    two = gpu_host(devices=(H100, BLACKWELL))
    assert of(two, "device 1").status == "ok"
    assert "12.0" in of(two, "device 1").detail


def test_a_device_that_others_have_filled() -> None:
    full = replace(H100, free_bytes=1 * GIB)
    assert of(gpu_host(devices=(full,)), "device 0").status == "warning"


def test_a_missing_library_names_its_package() -> None:
    finding = of(gpu_host(libraries={"libcublas.so.12": False}), "libraries")
    assert finding.status == "failure"
    assert "nvidia-cublas-cu12" in finding.advice


def test_torch_needs_no_library_of_ctranslate2s() -> None:
    bare = gpu_host(libraries={"libcublas.so.12": False})
    assert {found.status for found in check_machine(bare, "cuda", "torch")} == {"ok", "note"}
    assert "failure" in {found.status for found in check_machine(bare, "cuda", "ctranslate2")}


def test_triton_without_a_compiler() -> None:
    assert of(gpu_host(compiler=None), "compiler").status == "warning"


def test_one_core_and_little_memory_are_warnings() -> None:
    single = replace(CPU_ONLY.processor, cores=1)
    small = cpu_host(processor=single, available_bytes=GIB)
    assert of(small, "processor").status == "warning"
    assert "1 core," in of(small, "processor").detail
    poor = cpu_host(processor=replace(CPU_ONLY.processor, bfloat16=False, isa="avx2"))
    told = of(poor, "processor").detail
    assert told.endswith("no native bfloat16, limited to avx2 by isa: Whisper in float32")
    assert of(small, "memory").status == "warning"


def test_whatever_is_wrong_has_advice() -> None:
    machines = [cpu_host(), gpu_host(driver=Driver(None, None, 804)), gpu_host(devices=(PASCAL,))]
    for machine in machines:
        for finding in check_machine(machine, "cuda"):
            assert finding.advice or finding.status in ("ok", "note")
