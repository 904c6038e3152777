"""The tests that a GPU decides: those marked ``cuda``, and the kernels' own, run for real there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.gpu.bench import Bench, Record, Row

ROOT = Path(__file__).parents[2]
SUITES: dict[str, tuple[str, ...]] = {
    "kernels": ("tests/kernels",),
    "marked cuda": ("-m", "cuda", "tests/whisper", "tests/vad", "tests/llm"),
}


def measure(bench: Bench, record: Record) -> None:
    """Rows: ``suite``, how many passed, failed, were skipped or broke, and each one that failed."""
    for name, words in SUITES.items():
        record.attempt({"suite": name}, partial(run_suite, words))


def run_suite(words: Sequence[str]) -> Row:
    """Run pytest by itself; raises ``RuntimeError`` where it could not begin."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", *words, f"--junitxml={report}",
                   "--continue-on-collection-errors"]  # fmt: skip
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path},
                              capture_output=True, text=True, check=False)  # fmt: skip
        if not report.is_file():
            raise RuntimeError(f"pytest ended with {done.returncode}: {done.stdout[-300:]}")
        return summary(report.read_text("utf-8"))


def summary(report: str) -> Row:
    """Of pytest's JUnit report."""
    # pytest wrote it a moment ago, so there is nothing hostile in it
    suite = next(ElementTree.fromstring(report).iter("testsuite"))
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    bad = [
        {"test": f"{case.get('classname')}::{case.get('name')}", "says": _first_line(child)}
        for case in suite.iter("testcase")
        for child in case
        if child.tag in ("failure", "error")
    ]
    return {
        "passed": counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"],
        "failed": counts["failures"],
        "broken": counts["errors"],
        "skipped": counts["skipped"],
        "seconds": round(float(suite.get("time", 0)), 1),
        "failures": bad,
    }


def _first_line(child: ElementTree.Element) -> str:
    said = child.get("message") or child.text or ""
    return said.strip().partition("\n")[0][:300]
