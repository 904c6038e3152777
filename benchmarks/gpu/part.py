"""One part in a process of its own, so that one that breaks the device does not break the others.

python -m benchmarks.gpu.part NAME FILE OPTIONS     # called by ``python -m benchmarks.gpu``
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.gpu.bench import Bench, Record, Skipped, said
from benchmarks.gpu.cuda_tests import ROOT
from benchmarks.gpu.parts import PARTS

Tell = Callable[[str], None]
Keep = Callable[[dict[str, Any]], None]


def run(name: str, bench: Bench, limit_s: float, tell: Tell, keep: Keep) -> dict[str, Any]:
    """Measure a part; always returns its result, with a ``status``.

    ``tell`` gets its lines, ``keep`` what it has so far, as often as there is more.
    """
    part = PARTS[name]
    if part.needs_cuda and bench.device != "cuda":
        return {"status": "skipped", "reason": f"it needs CUDA, and this is {bench.device}"}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "part.json")
        command = [sys.executable, "-m", __spec__.name, name, str(file), bench.to_json()]

        def line_came(line: str) -> None:
            tell(line)
            if file.is_file():
                keep({"status": "unfinished"} | json.loads(file.read_text("utf-8")))

        code, tail, late = _watched(command, limit_s, line_came)
        found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if "status" not in found:
        why = f"stopped after {limit_s:.0f} s" if late else _why(code, tail)
        found = {"status": "failed", "error": why, **found}
    return found | {"seconds": round(time.monotonic() - begun, 1)}


def _watched(command: list[str], limit_s: float, tell: Tell) -> tuple[int, deque[str], bool]:
    """Run it, passing its lines on; returns its status, its last lines, and if it was stopped."""
    # a session of its own, so that what it started ends with it
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    late = threading.Event()

    def stop() -> None:
        late.set()
        _kill_group(process)

    timer = threading.Timer(limit_s, stop)
    timer.start()
    tail: deque[str] = deque(maxlen=20)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            tail.append(line.rstrip())
            tell(line.rstrip())
        return process.wait(), tail, late.is_set()
    finally:
        timer.cancel()
        _kill_group(process)
        process.wait()


def _kill_group(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _why(code: int, tail: deque[str]) -> str:
    last = next((line for line in reversed(tail) if line.strip()), "it said nothing")
    return f"ended with {code}: {last}"[:400]


def main(name: str, file: Path, bench: Bench) -> None:
    """In the process itself: the file grows with each row; its ``status`` comes last."""
    logging.basicConfig(level=logging.WARNING)
    machine = _machine(bench)
    latest: dict[str, Any] = {}

    def write(content: dict[str, Any]) -> None:
        rows = content.get("rows", [])
        if len(rows) > len(latest.get("rows", [])):
            print(json.dumps(rows[-1]), flush=True)
        latest.update(content, rows=[*rows])
        unfinished = file.with_suffix(".part")
        whole = {"machine": machine, **latest}
        unfinished.write_text(json.dumps(whole | {"rows": whole.pop("rows")}), "utf-8")
        unfinished.replace(file)

    record = Record(write)
    try:
        PARTS[name].measure(bench, record)
        status = {"status": "measured"} if record.rows else _nothing()
    except Skipped as skipped:
        status = {"status": "skipped", "reason": str(skipped)}
    except Exception as error:
        logging.exception("%s failed", name)
        status = {"status": "failed", "error": said(error)}
    write(status | record.facts | {"rows": record.rows})


def _nothing() -> dict[str, str]:
    return {"status": "failed", "error": "it found nothing"}


def _machine(bench: Bench) -> dict[str, Any]:
    """What its figures must be read with."""
    import torch

    from benchmarks.kernels.timing import environment

    if bench.quick:
        torch.set_num_threads(1)  # it is to run through, also beside other work
    device = torch.device(bench.device)
    found: dict[str, Any] = {**environment(device), "type": bench.device, "quick": bench.quick}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "cuda": torch.version.cuda,
            "memory_gb": round(properties.total_memory / 2**30, 1),
        }
    return found


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Bench.from_json(sys.argv[3]))
