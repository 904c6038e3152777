"""What the engine counts, for Prometheus. Per-step facts go here, not to the log."""

from __future__ import annotations

import weakref
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

SESSIONS = Gauge("antiphon_sessions", "Open sessions")
QUEUE_DEPTH = Gauge("antiphon_queue_depth", "Items that wait", ["queue"])
BATCH_SIZE = Histogram("antiphon_batch_size", "Rows in one batch", ["stage"], buckets=_BATCH)
STAGE_SECONDS = Histogram(
    "antiphon_stage_seconds", "Time spent in a stage", ["stage"], buckets=_LATENCY_S
)
ERRORS = Counter("antiphon_errors", "Errors by code", ["code"])
LAG_SECONDS = Gauge("antiphon_lag_seconds", "Age of the oldest final segment without a result")
LATENCY_TARGET_SECONDS = Gauge(
    "antiphon_latency_target_seconds", "Time to a final text (p95) that admission keeps"
)
LATENCY_ESTIMATE_SECONDS = Gauge(
    "antiphon_latency_estimate_seconds", "Estimated time to a final text (p95), for open sessions"
)
SPEECH_LOAD = Gauge(
    "antiphon_speech_load", "Estimated share of its time that the speech model needs for finals"
)
EARLY_REPLIES = Counter(
    "antiphon_early_replies",
    "Replies begun before the turn was over, after a pause or a sentence: hit, miss, prefilled "
    "(the prompt only, and it was asked for), prefilled_miss, or busy (nothing was done)",
    ["outcome", "after"],
)
EARLY_PIECES = Counter(
    "antiphon_early_pieces",
    "Pieces of text of early replies: used (hit) or not",
    ["outcome", "after"],
)
MEL_FRAMES = Counter("antiphon_mel_frames", "Log-mel frames computed, one for 10 ms of speech")
LLM_TOKENS = Counter("antiphon_llm_tokens", "Tokens by kind; estimated: nobody counted", ["kind"])


class _Lagging(Protocol):
    @property
    def lag_s(self) -> float: ...


def watch_lag(engine: _Lagging) -> None:
    """Ask at each scrape, since a lane that hangs sets nothing. ``engine`` is not kept alive."""
    known = weakref.ref(engine)

    def lag_s() -> float:
        found = known()
        return 0.0 if found is None else found.lag_s

    LAG_SECONDS.set_function(lag_s)


class _Estimate(Protocol):
    target_s: float

    def p95_s(self) -> float: ...

    def load(self) -> float: ...


def watch_admission(admission: _Estimate) -> None:
    """The same for the estimate of what the machine can carry."""
    known = weakref.ref(admission)
    LATENCY_TARGET_SECONDS.set(admission.target_s)

    def estimate_s() -> float:
        found = known()
        return 0.0 if found is None else found.p95_s()

    def load() -> float:
        found = known()
        return 0.0 if found is None else found.load()

    LATENCY_ESTIMATE_SECONDS.set_function(estimate_s)
    SPEECH_LOAD.set_function(load)
