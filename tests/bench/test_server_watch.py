"""What a server's processes and its ``/metrics`` tell."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from benchmarks.load import server_watch
from benchmarks.load.server_watch import Sample, ServerWatch, between, cost, scrape


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics_url(registry: CollectorRegistry) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization") == "Bearer secret"
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(generate_latest(registry) if allowed else b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_what_metrics_counted_between_two_scrapes(
    registry: CollectorRegistry, metrics_url: str
) -> None:
    sizes = Histogram("antiphon_batch_size", "", ["stage"], buckets=(1, 2, 4), registry=registry)
    stages = Histogram("antiphon_stage_seconds", "", ["stage"], registry=registry)
    errors = Counter("antiphon_errors", "", ["code"], registry=registry)
    late = Histogram("antiphon_event_loop_late_seconds", "", buckets=(0.001, 0.02, 0.05),
                     registry=registry)  # fmt: skip
    Gauge("process_resident_memory_bytes", "", registry=registry).set(3 << 20)
    sizes.labels("asr").observe(1)
    errors.labels("timeout").inc()
    late.observe(9.0)  # before the run: not its fault
    before = scrape(metrics_url, "secret")
    assert between(before, before)["event_loop"] is None
    for seconds in (*[0.0005] * 98, 0.019, 0.04):
        late.observe(seconds)
    for size in (1, 3, 4, 9):
        sizes.labels("asr").observe(size)
    stages.labels("encode").observe(0.25)
    stages.labels("encode").observe(0.75)
    errors.labels("overloaded").inc(2)
    counted = between(before, scrape(metrics_url, "secret"))
    assert counted["batch_sizes"] == {"asr": {"1": 1.0, "4": 2.0, "inf": 1.0}}
    assert counted["batch_rows"] == {"asr": 17.0}
    assert counted["stages"] == {"encode": {"count": 2.0, "mean_ms": 500.0, "total_s": 1.0}}
    assert counted["errors"] == {"overloaded": 2.0}
    assert counted["event_loop"] == {
        "timers": 100.0, "over_20_ms": 1.0, "p99_under_ms": 20.0, "latest_under_ms": 50.0
    }  # fmt: skip
    assert counted["memory_mb"] == 3.0


def test_no_metrics_are_no_error(metrics_url: str) -> None:
    assert scrape(metrics_url) == {}
    assert scrape("http://127.0.0.1:9") == {}


def test_cost_is_taken_between_two_moments() -> None:
    samples = [Sample(t, cpu_s=1.5 * t, memory_mb=100 + t, threads=3) for t in range(10)]
    found = cost(samples, 2.0, 6.0)
    assert found["cpu_cores"] == pytest.approx(1.5)
    assert found["cpu_s"] == pytest.approx(6.0)
    assert found["memory_mb_max"] == 106
    assert cost(samples, 2.2, 2.8) == {}


def test_a_process_is_watched_until_it_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_watch, "_EVERY_S", 0.01)
    enough = threading.Event()
    samples: list[Sample] = _Noticing(enough, 3)
    watch = ServerWatch(os.getpid(), samples)
    watch.start()
    assert enough.wait(10)
    watch.stop()
    assert samples[0].memory_mb > 10
    assert samples[-1].cpu_s >= samples[0].cpu_s > 0
    assert samples[0].threads >= 2


class _Noticing(list[Sample]):
    """Tells when it has enough."""

    def __init__(self, enough: threading.Event, count: int) -> None:
        self._enough, self._count = enough, count

    def append(self, item: Sample) -> None:
        super().append(item)
        if len(self) >= self._count:
            self._enough.set()
