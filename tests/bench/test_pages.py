"""The report and docs/BENCHMARKS.md: made from results alone, and honest where there are none."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page
from benchmarks.load import latency_command, profiler, report, results
from benchmarks.peers.registry import PEERS
from benchmarks.sections import profile


def percentiles(value: float) -> dict[str, float]:
    return {"p50": value, "p90": value, "p95": value * 2, "p99": value * 3, "max": value * 4,
            "mean": value, "count": 20}  # fmt: skip


def run(sessions: int, server: str = "antiphon", **more: Any) -> dict[str, Any]:
    stages = ("handshake_ms", "ack_ms", "send_late_ms", "first_partial_s", "final_s",
              "first_token_s", "response_s")  # fmt: skip
    return {
        "server": server,
        "load": {"sessions": sessions, "profile": "continuous", "encoding": "pcm", "ramp_s": 1.0,
                 "warmup_s": 1.0, "duration_s": 10.0},
        "latency": {name: percentiles(0.1 * sessions) for name in stages},
        "lag": {"slope_s_per_min": 0.0, "growth_s": 0.0},
        "speech": {"turns": 20, "answered": 20, "seconds": 90.0, "at_once": 9.0, "partials": 50,
                   "partials_per_s": 0.55, "held_turns": 0, "held_max_s": 0.0},
        "words": {"words": 300, "errors": 9, "percent": 3.0, "offline_errors": 9,
                  "offline_percent": 3.0},
        "findings": {"missing": 1},
        "errors": {"timeout": 2},
        "findings_list": [{"kind": "missing", "session": 0, "turn": 1, "detail": "<b>ack</b>"}],
        "cost": {"cpu_cores": 0.2 * sessions, "memory_mb_max": 500.0, "cpu_per_speech_s": 0.25},
        "metrics": {"batch_sizes": {"asr": {"1": 5.0, "2": 3.0}},
                    "stages": {"asr_encode": {"count": 8.0, "mean_ms": 60.0, "total_s": 0.48}}},
        "generator": {"processes": 1, "cpu_s": 1.0, "cpu_cores": 0.05, "memory_mb": 80.0},
        "sessions": [{"session": 0, "turns": 20, "wer_percent": 3.0}],
        "series": {"final": [[2.0 + n / 2, 0.2, 0] for n in range(20)],
                   "server": [[0.5 * n, 0.4, 500.0, 12] for n in range(24)]},
        "reasons": ["1 × missing"],
        "carried": False,
        "generator_was_late": False,
    } | more  # fmt: skip


def load_result(*runs: dict[str, Any]) -> dict[str, Any]:
    settings = {"name": "antiphon", "profile": "continuous", "target_p95_s": 1.0, "clips": 8}
    return results.start("load", settings) | {"runs": list(runs)}


def test_a_report_needs_nothing_else_and_escapes_what_it_was_given() -> None:
    text = report.render(load_result(run(1), run(4)))
    assert re.findall(r"<script|<link|@import|url\((?!#)|src=", text) == []
    assert "&lt;b&gt;ack" in text
    assert "<b>ack" not in text
    assert "error: timeout" in text
    assert text.count("<svg ") == 6 + 2 * 3
    assert "#010203" not in text


def test_a_report_of_nothing_is_still_a_page() -> None:
    empty = run(2, series={"final": [], "server": []}, metrics=None, cost={}, findings={},
                findings_list=[])  # fmt: skip
    empty["latency"]["final_s"] = {"count": 0}
    assert "2 sessions" in report.render(load_result(empty))


def test_results_are_written_whole_and_read_back(tmp_path: Path) -> None:
    result = load_result(run(1, odd=1 / 3))
    results.write(result, tmp_path / "deep" / "load.json")
    read = results.read(tmp_path / "deep" / "load.json")
    assert read is not None
    assert read["runs"][0]["odd"] == 0.3333
    assert read["settings"] == result["settings"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["load.json"]
    assert results.read(tmp_path / "missing.json") is None


def test_the_page_says_what_was_not_measured(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    page.build(tmp_path / "results", tmp_path / "BENCHMARKS.md")
    text = (tmp_path / "BENCHMARKS.md").read_text()
    assert text.count(page.NOT_MEASURED) == 24
    assert all(peer.title in text for name, peer in PEERS.items() if name != "antiphon")
    assert not (tmp_path / "benchmarks").exists()


def test_the_page_shows_every_run_the_ratios_and_what_could_not_be_measured(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    results.write(load_result(run(1), run(4)) | {"capacity": {"sessions": 4, "searched_up_to": 8}},
                  folder / "load-continuous.json")  # fmt: skip
    slow = run(4, "faster-whisper")
    slow["latency"]["final_s"] = percentiles(2.0)
    peers = {"faster-whisper": {"versions": {"faster-whisper": "1.2.1"}},
             "whisper-cpp": {"unavailable": "pip failed: no wheel"}}  # fmt: skip
    results.write(load_result(slow) | {"peers": peers}, folder / "compare.json")
    page.build(folder, tmp_path / "BENCHMARKS.md")
    text = (tmp_path / "BENCHMARKS.md").read_text()
    assert "Carried: **4 sessions**" in text
    assert re.search(r"behind one lock \| 4 \| 2\.00 \| 4\.00 \| 5\.0 \|", text)
    assert "not measured: pip failed: no wheel" in text
    shown = set(re.findall(r"\]\((benchmarks/\S+\.svg)\)", text))
    assert shown == {path.relative_to(tmp_path).as_posix()
                     for path in (tmp_path / "benchmarks").iterdir()}  # fmt: skip
    assert len(shown) == 3


def test_the_page_in_the_repository_is_that_of_the_results(tmp_path: Path) -> None:
    """Nobody writes figures by hand: the page is what the files make."""
    page.build(results.RESULTS, tmp_path / "BENCHMARKS.md")
    assert (tmp_path / "BENCHMARKS.md").read_text("utf-8") == page.PAGE.read_text("utf-8")


def test_a_profile_is_counted_by_thread_and_in_each_by_line() -> None:
    raw = "\n".join([
        "thread (1): speech-lane;run (engine/lane.py:5);step (/home/x/lib/engine/vad.py:9) 30",
        "thread (2): MainThread;main (server/app.py:1);recv (server/socket.py:2) 10",
    ])  # fmt: skip
    before, after = {1: 1.0, 2: 2.0, 7: 0.5}, {1: 1.5, 2: 4.0, 7: 3.5, 8: 1.0}
    cpu_s = profiler.by_name(before, after, raw)
    assert cpu_s == {profiler.NATIVE: 4.0, "MainThread": 2.0, "speech-lane": 0.5}
    outcome = profiler.outcome(raw, cpu_s, 4.0)
    assert outcome["samples"] == 40
    assert outcome["threads"] == [
        {"name": profiler.NATIVE, "cores": 1.0, "lines": []},
        {"name": profiler.EVENT_LOOP, "cores": 0.5,
         "lines": [{"where": "recv (server/socket.py:2)", "share": 1.0}]},
        {"name": "speech-lane", "cores": 0.125,
         "lines": [{"where": "step (…/vad.py:9)", "share": 1.0}]},
    ]  # fmt: skip


def test_the_page_tells_how_often_each_piece_of_audio_was_computed() -> None:
    metrics = {"audio_bytes": 3_200_000.0, "mel_frames": 9_000.0,
               "batch_rows": {"vad": 3_125.0, "asr": 40.0},
               "stages": {"segment_to_transcript": {"count": 20.0}}}  # fmt: skip
    threads = {"samples": 1, "rate_hz": 100, "threads": []}
    text = profile.section(load_result(run(4, metrics=metrics, profile=threads)))
    assert "Of 100 s of audio VAD's frames were computed 1.00 times and mel frames 0.90" in text
    assert "For 20 final texts the encoder ran 40 times" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["test_latency.py", "test_stages.py"]),
        (["--stages", "--compare"], ["test_stages.py", "--benchmark-compare"]),
        (["--quick", "--save"], ["test_stages.py", "--benchmark-autosave", "-k"]),
        (["-k", "vad"], ["-k", "vad"]),
    ],
)
def test_latency_is_pytest_benchmark(words: list[str], expected: list[str]) -> None:
    parser = argparse.ArgumentParser()
    latency_command.add_arguments(parser)
    command = latency_command.command(parser.parse_args(words))
    assert "--benchmark-only" in command
    found = [word.rsplit("/", 1)[-1] for word in command]
    assert [word for word in found if word in expected] == expected


def test_a_result_is_json_with_a_line_for_each_run() -> None:
    text = results._lines({"kind": "load", "runs": [{"a": 1}, {"b": 2}], "empty": []})
    assert json.loads(text) == {"kind": "load", "runs": [{"a": 1}, {"b": 2}], "empty": []}
    assert len(text.splitlines()) == 8
