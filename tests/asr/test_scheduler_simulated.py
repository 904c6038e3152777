"""The scheduler under load, on a simulated clock: a model of known cost, many speakers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest

from engine.asr.backend import AsrJob
from engine.asr.scheduler import AsrScheduler
from engine.types import SAMPLE_RATE

PCM = np.zeros(3 * SAMPLE_RATE, np.float32)


@dataclass
class Simulation:
    """``speakers`` send a partial each ``every_s`` and a final each ``turn_s``, out of phase.

    A job costs ``cost_s`` of the model's time; batches hold ``batch`` jobs.
    """

    speakers: int
    cost_s: float
    batch: int = 1
    every_s: float = 0.6
    turn_s: float = 5.0
    waits_s: list[float] = field(default_factory=list)
    partials: Counter[int] = field(default_factory=Counter)
    finals: Counter[int] = field(default_factory=Counter)

    def run(self, duration_s: float) -> Simulation:
        scheduler, now = AsrScheduler(), 0.0
        arrivals = self._arrivals(duration_s)
        while arrivals or len(scheduler):
            while arrivals and arrivals[0].queued_at <= now:
                scheduler.add(arrivals.pop(0))
            batch = scheduler.next_batch(lambda _: self.batch)
            if not batch:
                now = arrivals[0].queued_at
                continue
            now += self.cost_s * len(batch)
            for job in batch:
                (self.finals if job.is_final else self.partials)[job.key] += 1
                if job.is_final:
                    self.waits_s.append(now - job.queued_at)
        return self

    def _arrivals(self, duration_s: float) -> list[AsrJob]:
        jobs = []
        for key in range(self.speakers):
            phase = key / self.speakers
            for final, period in ((False, self.every_s), (True, self.turn_s)):
                at, turn = period * phase, 0
                while at < duration_s:
                    jobs.append(AsrJob(key, turn, 0, PCM, is_final=final, queued_at=at))
                    at, turn = at + period, turn + 1
        return sorted(jobs, key=lambda job: job.queued_at)


def test_a_final_waits_for_one_running_partial_at_most() -> None:
    # 16 speakers want 16 * (1 / 0.6 + 1 / 5) * 0.1 = 3 times what the model can do.
    loaded = Simulation(speakers=16, cost_s=0.1).run(60)
    others_finals = 16 * 0.1 / 5
    assert max(loaded.waits_s) < 0.1 + 0.1 + others_finals
    assert sum(loaded.finals.values()) == 16 * 12


def test_partials_grow_rarer_under_load_and_no_queue_builds() -> None:
    easy = Simulation(speakers=2, cost_s=0.1).run(60)
    loaded = Simulation(speakers=16, cost_s=0.1).run(60)
    assert min(easy.partials.values()) == pytest.approx(100, abs=2)
    assert max(loaded.partials.values()) < 40
    early = np.mean(loaded.waits_s[:60])
    late = np.mean(loaded.waits_s[-60:])
    assert late == pytest.approx(early, abs=0.05)


def test_every_session_gets_its_share_of_partials() -> None:
    loaded = Simulation(speakers=16, cost_s=0.1).run(120)
    counts = [loaded.partials[key] for key in range(16)]
    assert max(counts) - min(counts) <= 0.2 * max(counts)


def test_finals_alone_beyond_capacity_are_served_in_order_and_none_is_lost() -> None:
    drowned = Simulation(speakers=16, cost_s=0.4, batch=4).run(30)
    assert sum(drowned.finals.values()) == 16 * 6
    assert max(drowned.finals.values()) == min(drowned.finals.values())
