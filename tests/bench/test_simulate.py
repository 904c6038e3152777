"""Simulated speakers: what must hold whatever the price."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.arrivals import Arrivals
from benchmarks.simulate import price, serve

LENGTHS_S = (3.0, 5.0, 7.0)


@given(speakers=st.integers(1, 12), price_s=st.floats(0.01, 0.3), batch=st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_every_final_is_served_and_the_model_is_never_busier_than_it_can(
    speakers: int, price_s: float, batch: int
) -> None:
    jobs = Arrivals(speakers, LENGTHS_S, 0.6).jobs(20.0)
    served = serve(jobs, price_s, batch)
    assert served["finals"] == sum(job.is_final for job in jobs)
    assert served["partials"] <= sum(not job.is_final for job in jobs)
    assert served["busy"] <= 1.0 + 1e-9
    assert price_s * (1 - 1e-9) <= served["final_p50_s"] <= served["final_p95_s"]


def test_partials_give_way_before_finals_wait() -> None:
    alone = serve(Arrivals(1, LENGTHS_S, 0.6).jobs(60.0), 0.05, 16)
    many = serve(Arrivals(40, LENGTHS_S, 0.6).jobs(60.0), 0.05, 16)
    assert many["partials"] < 40 * alone["partials"] / 2
    # at most what a batch of partials and one of finals cost
    assert many["final_p95_s"] < 2 * 16 * 0.05


def test_beyond_what_finals_alone_cost_the_wait_grows() -> None:
    drowned = serve(Arrivals(200, LENGTHS_S, 0.6).jobs(60.0), 0.05, 16)
    assert drowned["final_p95_s"] > 10
    assert drowned["busy"] == pytest.approx(1.0, abs=0.02)


def test_the_price_of_a_segment_is_that_of_the_longer_stage() -> None:
    stages = {"asr_encode": {"total_s": 3.0}, "asr_decode": {"total_s": 1.0}}
    assert price({"metrics": {"stages": stages, "batch_rows": {"asr": 30.0}}}) == 0.1


def test_an_utterance_that_ends_when_a_partial_is_due_has_one_final() -> None:
    jobs = Arrivals(5, (1.2, 1.8, 6.0), 0.6).jobs(30.0)
    finals = [(job.key, job.turn_id) for job in jobs if job.is_final]
    assert len(finals) == len(set(finals))
    kept = [job.seconds for job in jobs if (job.key, job.turn_id) == (0, 1)]
    assert kept == sorted(set(kept))
