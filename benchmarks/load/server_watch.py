"""What a server costs and counts while it is under load: its processes, and its ``/metrics``."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

_EVERY_S = 0.5
_TIMEOUT_S = 5.0
_LATE_S = 0.02
"""A loop that is blocked for longer is heard in the conversation."""


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    """On ``time.monotonic``'s clock."""
    cpu_s: float
    memory_mb: float
    threads: int


@dataclass(slots=True)
class ServerWatch:
    """Samples a local server's process tree on a thread, from ``start`` to ``stop``."""

    pid: int | None
    samples: list[Sample] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        if self.pid is not None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="server-watch")
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        assert self.pid is not None
        process = psutil.Process(self.pid)
        while not self._stop.is_set():
            try:
                self.samples.append(_sample(process))
            except psutil.NoSuchProcess:
                return
            self._stop.wait(_EVERY_S)


def cost(samples: list[Sample], from_s: float, until_s: float) -> dict[str, float]:
    """Processor use (1.0 is one core), memory and threads between two moments."""
    inside = [one for one in samples if from_s <= one.at_s <= until_s]
    if len(inside) < 2:
        return {}
    first, last = inside[0], inside[-1]
    return {
        "cpu_cores": (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s),
        "cpu_s": last.cpu_s - first.cpu_s,
        "memory_mb_max": max(one.memory_mb for one in inside),
        "memory_mb_first": first.memory_mb,
        "memory_mb_last": last.memory_mb,
        "threads_max": max(one.threads for one in inside),
    }


def scrape(http_url: str, token: str | None = None) -> dict[str, float]:
    """Every sample of ``/metrics``, by ``name{label=value,…}``; empty if there is none."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{http_url}/metrics", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return {}
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = float(sample.value)
    return found


def between(before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    """What ``/metrics`` counted between two scrapes."""
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    return {
        "batch_sizes": _batch_sizes(grown),
        "batch_rows": {
            _label(name, "stage"): value
            for name, value in grown.items()
            if name.startswith("antiphon_batch_size_sum{") and value
        },
        "stages": _stages(grown),
        "event_loop": _event_loop(grown),
        "errors": {
            _label(name, "code"): value
            for name, value in grown.items()
            if name.startswith("antiphon_errors_total{") and value
        },
        "llm_tokens": {
            _label(name, "kind"): value
            for name, value in grown.items()
            if name.startswith("antiphon_llm_tokens_total{") and value
        },
        "audio_bytes": grown.get("antiphon_audio_received_bytes_total"),
        "mel_frames": grown.get("antiphon_mel_frames_total"),
        "cpu_s": grown.get("process_cpu_seconds_total"),
        "memory_mb": after.get("process_resident_memory_bytes", 0.0) / 2**20 or None,
    }


def _batch_sizes(grown: dict[str, float]) -> dict[str, dict[str, float]]:
    """Per stage: upper bound of the bucket, and how many batches fell into it."""
    cumulative: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, value in grown.items():
        if name.startswith("antiphon_batch_size_bucket{"):
            cumulative[_label(name, "stage")].append((float(_label(name, "le")), value))
    found: dict[str, dict[str, float]] = {}
    for stage, buckets in cumulative.items():
        below = 0.0
        for bound, value in sorted(buckets):
            if value > below:
                found.setdefault(stage, {})[f"{bound:g}"] = value - below
            below = value
    return found


def _event_loop(grown: dict[str, float]) -> dict[str, float] | None:
    """How late its timers rang: how many, how many by more than 20 ms, and the bounds in
    milliseconds under which 99 % of them and the latest lie; None if nobody counted."""
    below = sorted(
        (float(_label(name, "le")), value)
        for name, value in grown.items()
        if name.startswith("antiphon_event_loop_late_seconds_bucket{")
    )
    if not below or not below[-1][1]:
        return None
    count = below[-1][1]
    return {
        "timers": count,
        "over_20_ms": count - max(value for bound, value in below if bound <= _LATE_S),
        "p99_under_ms": 1e3 * next(bound for bound, value in below if value >= 0.99 * count),
        "latest_under_ms": 1e3 * next(bound for bound, value in below if value == count),
    }


def _stages(grown: dict[str, float]) -> dict[str, dict[str, float]]:
    """Per stage: how often, and the mean in milliseconds."""
    found = {}
    for name, count in grown.items():
        if name.startswith("antiphon_stage_seconds_count{") and count:
            stage = _label(name, "stage")
            total_s = grown[f"antiphon_stage_seconds_sum{{stage={stage}}}"]
            found[stage] = {"count": count, "mean_ms": total_s / count * 1e3, "total_s": total_s}
    return found


def _label(name: str, label: str) -> str:
    labels = name.partition("{")[2].rstrip("}").split(",")
    return next(pair.partition("=")[2] for pair in labels if pair.startswith(f"{label}="))


def _sample(process: psutil.Process) -> Sample:
    cpu_s = memory = 0.0
    threads = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
            cpu_s += times.user + times.system
            memory += one.memory_info().rss
            threads += one.num_threads()
        except psutil.NoSuchProcess:
            if one is process:
                raise
    return Sample(time.monotonic(), cpu_s, memory / 2**20, threads)
