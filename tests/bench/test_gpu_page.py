"""What docs/BENCHMARKS.md says of GPUs: figures of a GPU only, and failures as failures."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

from benchmarks.gpu import result
from benchmarks.gpu.parts import PARTS
from benchmarks.page import Pictures
from benchmarks.sections import gpu

MACHINE = {"device": "Planted GPU", "type": "cuda", "quick": False, "torch": "2.13.0",
           "triton": "3.7.1", "python": "3.12.3", "date": "2026-01-02", "cuda": "13.0",
           "memory_gb": 79.6}  # fmt: skip
MODELS = ("base", "large-v3-turbo")
VARIANTS = ("torch", "kernels", "kernels and graphs")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def planted() -> dict[str, Any]:
    """Round figures that nobody measured, of every part."""
    rows: dict[str, list[dict[str, Any]]] = {
        "tests": [{"suite": "kernels", "passed": 100, "failed": 1, "broken": 0, "skipped": 2,
                   "failures": [{"test": "a::b", "says": "0.1 is not 0.2"}]}],
        "kernels": [
            {"operation": "slot_attention", "case": "one", "us": {"torch": 100.0, "triton": 50.0}},
            {"operation": "token_pick", "case": "two", "us": {"torch": 9.0},
             "errors": {"triton": "CompilationError: no"}},
            {"operation": "log_mel", "case": "three", "error": "OutOfMemoryError: much"},
        ],
        "encoder": [{"model": m, "batch": b, "ms": 1.0 * b, "segments_per_s": 1000.0}
                    for m in MODELS for b in BATCHES],
        "decoder": [{"model": m, "variant": v, "batch": b, "step_ms": 3.0 - k + b / 50,
                     "tokens_per_s": 500 * b, "opening_ms": 2.0, "draft_ms": 3.0,
                     "tokens_each": 49}
                    for m in MODELS for k, v in enumerate(VARIANTS)
                    for b in BATCHES],
        "vad": [{"slots": s, "ms": {"torch": 0.4, "cuda graph": 0.1, "engine": 0.5 + s / 4096}}
                for s in (64, 256, 1024, 4096)],
        "capacity": [{"model": m, "speakers": s, "finals": 2 * s, "p50_ms": 40.0 + s / 20,
                      "p95_ms": 80.0 + s / 6, "max_ms": 100.0 + s / 4,
                      "partials_per_speech_s": 1.6, "lane_busy": 0.5, "gpu_busy": None,
                      "carried": s <= 1024} for m in MODELS for s in (64, 256, 1024, 1200, 2048)],
        "replies": [{"check": "paged equals unpaged", "attention": "triton", "prompts": 8,
                     "equal": 8, "tokens": 512, "tokens_before_a_difference": 512},
                    *({"sessions": s, "tokens_per_s": 90.0 * s, "first_token_p50_ms": 20.0,
                       "first_token_max_ms": 30.0} for s in (1, 2, 4, 8))],
    }  # fmt: skip
    more: dict[str, dict[str, Any]] = {
        "encoder": {"context_s": 15},
        "decoder": {"draft_tokens": 20},
        "capacity": {"target_p95_ms": 250.0, "carried": dict.fromkeys(MODELS, 1024),
                     "pattern": {"utterances_s": [4.0, 9.0], "pauses_s": [0.5, 2.0],
                                 "partial_every_s": 0.6, "warm_s": 3.0, "window_s": 15.0}},
        "replies": {"backend": "exllamav2/planted (triton)"},
    }  # fmt: skip
    found = {"kind": "gpu", "machine": {}, "parts": {}}
    for name in PARTS:
        part = {"status": "measured", "machine": MACHINE, **more.get(name, {}), "rows": rows[name]}
        result.add(found, name, part)
    return found


def shown(folder: Path, *results: dict[str, Any]) -> str:
    for index, one in enumerate(results):
        result.write(one, folder / "results" / f"gpu-{index}.json")
    return gpu.section(folder / "results", Pictures(folder / "benchmarks"))


def test_without_a_gpu_there_is_a_sentence_and_no_figure(tmp_path: Path) -> None:
    text = shown(tmp_path)
    assert "No GPU was at hand" in text
    assert gpu.COMMAND in text
    assert "|" not in text
    assert not (tmp_path / "benchmarks").exists()


def test_a_cpus_figures_and_those_of_quick_runs_are_not_shown(tmp_path: Path) -> None:
    cpu, quick = planted(), planted()
    cpu["machine"]["type"] = "cpu"
    quick["machine"]["quick"] = True
    skipped = {"kind": "gpu", "machine": {}, "parts": {"tests": {"status": "skipped"}}}
    assert shown(tmp_path, cpu, quick, skipped) == gpu.NONE


def test_every_figure_of_a_gpu_is_shown(tmp_path: Path) -> None:
    text = shown(tmp_path, planted())
    assert "No GPU" not in text
    assert "### Planted GPU" in text
    assert "`large-v3-turbo`: **1024 people at once** with p95 under 250 ms." in text
    assert "| large-v3-turbo | 1200 | 2400 | 100 | 280 | 400 | 1.60 | 0.50 | — | no |" in text
    assert "| base | 256 | 8.12 | 7.12 | 6.12 | 128,000 | 2.00 | 3.00 |" in text
    assert "torch 100.0, triton 50.0 | 2.00 × |" in text
    assert "triton failed: CompilationError: no | — |" in text
    assert "failed: OutOfMemoryError: much" in text
    assert "8 of 8 answers equal token for token" in text
    assert "`a::b`: 0.1 is not 0.2" in text
    assert text.count("*2026-01-02; Planted GPU, 79.6 GB;") == len(PARTS)
    images = set(re.findall(r"\]\((benchmarks/\S+\.svg)\)", text))
    assert images == {f"benchmarks/{path.name}" for path in (tmp_path / "benchmarks").iterdir()}
    assert len(images) == 6


def test_parts_that_failed_or_were_not_run_say_so(tmp_path: Path) -> None:
    found = copy.deepcopy(planted())
    found["parts"]["vad"] = {"status": "failed", "error": "stopped after 60 s"}
    found["parts"]["replies"] = {"status": "skipped", "reason": "exllamav2 is not installed"}
    found["parts"]["capacity"] |= {"status": "unfinished"}
    del found["parts"]["capacity"]["carried"], found["parts"]["tests"]
    found["parts"]["decoder"]["rows"][0] = {
        "model": "base", "variant": "torch", "batch": 1, "error": "OutOfMemoryError: much",
    }  # fmt: skip
    text = shown(tmp_path, found)
    assert "#### VAD\n\n**Failed:** stopped after 60 s" in text
    assert "**Skipped:** exllamav2 is not installed" in text
    assert "**Unfinished:** it did not end" in text
    assert "people at once**" not in text
    assert "#### Tests that a GPU decides\n\nNot measured on this device." in text
    assert "| base | 1 | failed: OutOfMemoryError: much | 2.02 | 1.02 | 500 | 2.00 | 3.00 |" in text


def test_a_device_on_which_nothing_worked_has_a_page_too(tmp_path: Path) -> None:
    found = planted()
    for name, part in found["parts"].items():
        keys = {"suite", "operation", "case", "model", "variant", "batch", "slots", "sessions"}
        if name == "capacity":
            part["rows"] = [{"model": "base", "speakers": 64, "finals": 0, "carried": False}]
            part["carried"] = {"base": 0}
            continue
        part["rows"] = [{key: row[key] for key in keys & row.keys()} | {"error": "RuntimeError: no"}
                        for row in part["rows"]]  # fmt: skip
    text = shown(tmp_path, found)
    assert "svg" not in text
    assert text.count("RuntimeError: no") > 40
    assert "| base | 64 | 0 | — | — | — |" in text
