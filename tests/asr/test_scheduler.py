"""The batching policy: finals first, newest partial only, nothing lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.asr.backend import AsrJob
from engine.asr.guards import context_s
from engine.asr.scheduler import AsrScheduler
from engine.types import SAMPLE_RATE


def job(key: int, final: bool = True, seconds: float = 3, turn: int = 0, at: float = 0) -> AsrJob:
    pcm = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    return AsrJob(key, turn, 0, pcm, is_final=final, queued_at=at)


def scheduler(*jobs: AsrJob) -> AsrScheduler:
    made = AsrScheduler()
    for each in jobs:
        made.add(each)
    return made


def keys(jobs: list[AsrJob]) -> list[int]:
    return [j.key for j in jobs]


def test_finals_go_before_partials_oldest_first() -> None:
    waiting = scheduler(job(1, final=False), job(2), job(3))
    assert keys(waiting.next_batch(lambda _: 2)) == [2, 3]
    assert keys(waiting.next_batch(lambda _: 2)) == [1]
    assert waiting.next_batch(lambda _: 2) == []


def test_a_newer_partial_replaces_the_older_and_keeps_its_place() -> None:
    newer = job(1, final=False, seconds=4)
    waiting = scheduler(job(1, final=False), job(2, final=False), newer)
    assert waiting.next_batch(lambda _: 1) == [newer]


def test_a_final_makes_the_partial_pointless() -> None:
    waiting = scheduler(job(1, final=False), job(1))
    assert [j.is_final for j in waiting.next_batch(lambda _: 9)] == [True]
    assert len(waiting) == 0


def test_a_batch_has_one_context_and_one_temperature() -> None:
    short, long = job(1, seconds=3), job(2, seconds=20)
    waiting = scheduler(short, long, job(3, seconds=4))
    assert keys(waiting.next_batch(lambda _: 9)) == [1, 3]
    assert keys(waiting.next_batch(lambda _: 9)) == [2]


def test_a_promoted_partial_is_a_final() -> None:
    partial = job(2, final=False)
    final = replace(partial, is_final=True)
    waiting = scheduler(job(1, final=False), partial)
    assert waiting.promote(final)
    assert waiting.next_batch(lambda _: 1) == [final]
    assert not waiting.promote(final)


def test_only_the_very_job_is_promoted() -> None:
    older, newer = job(1, final=False), job(1, final=False)
    waiting = scheduler(older, newer)
    assert not waiting.promote(replace(older, is_final=True))
    assert waiting.partials == 1
    assert waiting.finals == 0


def test_a_final_leaves_the_partial_of_a_later_turn() -> None:
    waiting = scheduler(job(1, final=False, turn=1), job(1, turn=0))
    assert [j.turn_id for j in waiting.next_batch(lambda _: 9)] == [0]
    assert [j.turn_id for j in waiting.next_batch(lambda _: 9)] == [1]


def test_cancel_forgets_one_turn_or_all() -> None:
    waiting = scheduler(job(1, turn=0), job(1, turn=1), job(2), job(1, final=False, turn=2))
    waiting.cancel(1, 0)
    assert waiting.finals == 2
    assert waiting.partials == 1
    waiting.cancel(1)
    assert keys(waiting.next_batch(lambda _: 9)) == [2]


def test_the_oldest_final_is_the_lag() -> None:
    waiting = scheduler(job(1, final=False, at=1), job(2, at=5), job(3, at=4))
    assert waiting.oldest_final_at == 4
    waiting.next_batch(lambda _: 9)
    assert waiting.oldest_final_at is None


requests = st.lists(
    st.tuples(st.integers(0, 5), st.booleans(), st.floats(0.1, 28)), min_size=1, max_size=40
)


@given(requests, st.integers(1, 8))
def test_every_final_comes_out_once_in_order(
    wanted: list[tuple[int, bool, float]], size: int
) -> None:
    jobs = [job(k, final, s, turn=i) for i, (k, final, s) in enumerate(wanted)]
    waiting = scheduler(*jobs)
    out: list[AsrJob] = []
    while batch := waiting.next_batch(lambda _: size):
        assert len(batch) <= size
        assert len({context_s(j.seconds) for j in batch}) == 1
        out += batch
    finals = [j.turn_id for j in out if j.is_final]
    assert sorted(finals) == [j.turn_id for j in jobs if j.is_final]
    for key in range(6):
        own = [j.turn_id for j in out if j.is_final and j.key == key]
        by_context = {}
        for turn in own:
            by_context.setdefault(context_s(jobs[turn].seconds), []).append(turn)
        assert all(turns == sorted(turns) for turns in by_context.values())
