"""A client process: some of the run's sessions on an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

import numpy as np
import psutil
import uvloop

from benchmarks.load.encodings import Piece, pieces, with_noise
from benchmarks.load.pacing import Clock
from benchmarks.load.records import SessionPlan, SessionRecord, WorkerRecord
from benchmarks.load.speech import Clip
from benchmarks.load.talker import Talker
from benchmarks.peers.whisperlive_talker import WhisperLiveTalker

_PROGRESS_S = 0.5
_NICER = -10


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that a client process is told."""

    url: str
    token: str | None
    protocol: str
    plans: tuple[SessionPlan, ...]
    clips: dict[int, Clip]
    until_s: float
    drain_s: float
    """Longest wait for answers after the last turn, which begins before ``until_s``, was said."""
    seed: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a client process is, told now and then."""

    open: int
    turns: int
    answered: int
    errors: int
    latencies_s: list[float]
    """From the end of speech to the final text, of every turn so far."""


class Speaker(Protocol):
    record: SessionRecord

    async def run(self) -> None: ...


PROTOCOLS: dict[str, Callable[..., Speaker]] = {
    "antiphon": Talker,
    "whisperlive": WhisperLiveTalker,
}


def main(job: Job, pipe: Connection) -> None:
    """Prepare, say ``"ready"``, get the epoch, hold the sessions, send the record."""
    speech = prepare(job)
    with contextlib.suppress(PermissionError):
        os.nice(_NICER)  # a generator that waits for the processor measures itself
    pipe.send("ready")
    clock = Clock(pipe.recv())
    began, cpu_began = time.monotonic(), time.process_time()
    sessions = uvloop.run(_hold(job, speech, clock, pipe))
    cpu_s = time.process_time() - cpu_began
    wall_s = time.monotonic() - began
    memory_mb = psutil.Process().memory_info().rss / 2**20
    pipe.send(WorkerRecord(sessions, cpu_s, wall_s, memory_mb))


def prepare(job: Job) -> list[list[list[Piece]]]:
    """The pieces of each turn of each session, made before the clock runs."""
    return [[_pieces(job, plan, index) for index in range(len(plan.turns))] for plan in job.plans]


def _pieces(job: Job, plan: SessionPlan, index: int) -> list[Piece]:
    turn = plan.turns[index]
    rng = np.random.default_rng((job.seed, plan.number, index))
    pcm = job.clips[turn.clip].pcm
    if turn.noise_db is not None:
        pcm = with_noise(pcm, turn.noise_db, rng)
    return pieces(pcm, plan.encoding, rng)


async def _hold(
    job: Job, speech: Sequence[Sequence[Sequence[Piece]]], clock: Clock, pipe: Connection
) -> list[SessionRecord]:
    talkers: list[Speaker] = [
        PROTOCOLS[job.protocol](job.url, job.token, plan, said, clock, job.until_s)
        for plan, said in zip(job.plans, speech, strict=True)
    ]
    tasks = [asyncio.create_task(talker.run()) for talker in talkers]
    longest_s = max((said[-1][0] for turns in speech for said in turns), default=0.0)
    ends_s = job.until_s + longest_s + job.drain_s
    telling = asyncio.create_task(_tell(talkers, pipe))
    done, late = await asyncio.wait(tasks, timeout=ends_s - clock.now_s())
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
    telling.cancel()
    for task in done:
        task.result()
    return [talker.record for talker in talkers]


async def _tell(talkers: Sequence[Speaker], pipe: Connection) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_S)
        pipe.send(progress([talker.record for talker in talkers]))


def progress(records: Sequence[SessionRecord]) -> Progress:
    turns = [turn for record in records for turn in record.turns]
    return Progress(
        open=sum(r.opened_s is not None and r.closed_s is None for r in records),
        turns=len(turns),
        answered=sum(turn.processed > 0 for turn in turns),
        errors=sum(len(r.errors) for r in records) + sum(t.error_code is not None for t in turns),
        latencies_s=[t.final_s - t.speech_end_s for t in turns if t.final_s is not None],
    )
