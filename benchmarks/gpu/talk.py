"""Speakers in real time against the engine's ASR lane: its scheduler, its guards, its backend.

The lane's turns are called here, on one thread, as its own thread does; a job is submitted at
the first turn after its moment. Waits count from that moment, however late the lane is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from engine.asr.backend import AsrJob
from engine.asr.guards import Verdict
from engine.asr_lane import AsrLane, Heard
from engine.work import CancelJobs, Submit

Turn = tuple[int, int]  # speaker, utterance


class Clock(Protocol):
    """Seconds from any beginning."""

    def now(self) -> float: ...

    def sleep_until(self, at: float) -> None: ...


class WallClock:
    def now(self) -> float:
        return time.monotonic()

    def sleep_until(self, at: float) -> None:
        time.sleep(max(0.0, at - time.monotonic()))


@dataclass(slots=True)
class Talk:
    """What came of it. ``waits_s``: by utterance, from its moment to its final text.

    ``doubled`` finals came twice or unasked, ``failed`` ones are those that the lane gave up;
    ``hopeless``: it was broken off, since a final had waited for too long.
    """

    waits_s: dict[Turn, float] = field(default_factory=dict)
    partials: dict[Turn, int] = field(default_factory=dict)
    unanswered: dict[Turn, float] = field(default_factory=dict)
    doubled: int = 0
    failed: int = 0
    hopeless: bool = False
    busy_s: float = 0.0
    wall_s: float = 0.0

    def asked(self, job: AsrJob) -> None:
        if job.is_final:
            self.unanswered[job.key, job.turn_id] = job.queued_at

    def take(self, heard: Heard, now: float) -> None:
        job = heard.hypothesis.job
        turn = job.key, job.turn_id
        if not job.is_final:
            self.partials[turn] = self.partials.get(turn, 0) + 1
        elif turn not in self.unanswered:
            self.doubled += 1
        else:
            self.waits_s[turn] = now - self.unanswered.pop(turn)
            self.failed += heard.verdict is not Verdict.KEEP

    def longest_open_s(self, now: float) -> float:
        """How long the oldest final without an answer has waited."""
        return now - next(iter(self.unanswered.values()), now)


def hold(jobs: Sequence[AsrJob], lane: AsrLane, clock: Clock, give_up_s: float) -> Talk:
    """Submit ``jobs``, whose ``queued_at`` counts from now, each in its moment; wait for all."""
    talk, waiting = Talk(), deque(jobs)
    begun = clock.now()
    while waiting or not lane.idle:
        now = clock.now()
        commands = []
        while waiting and begun + waiting[0].queued_at <= now:
            job = waiting.popleft()
            job = replace(job, queued_at=begun + job.queued_at)
            talk.asked(job)
            commands.append(Submit(job))
        heard = lane.turn(commands)
        after = clock.now()
        for one in heard:
            talk.take(one, after)
        if lane.idle and not heard:
            if waiting:
                clock.sleep_until(begun + waiting[0].queued_at)
        else:
            talk.busy_s += after - now
        if talk.longest_open_s(after) > give_up_s:
            talk.hopeless = True
            lane.turn([CancelJobs(key, None) for key in {job.key for job in jobs}])
            break
    talk.wall_s = clock.now() - begun
    return talk
