"""The client processes of one run: started together, watched, and their records collected."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from benchmarks.load.profiles import Window
from benchmarks.load.records import SessionPlan, WorkerRecord
from benchmarks.load.speech import Clip
from benchmarks.load.worker import Job, Progress, main
from engine.errors import AntiphonError

SESSIONS_PER_PROCESS = 16
_PREPARE_TIMEOUT_S = 120.0
_HEAD_START_S = 0.3
_GRACE_S = 15.0

OnProgress = Callable[[float, list[Progress]], None]


class FleetError(AntiphonError):
    """A client process died: the run says nothing about the server."""

    code = "fleet"


@dataclass(frozen=True, slots=True)
class Crowd:
    """What a fleet is to do."""

    url: str
    token: str | None
    protocol: str
    plans: Sequence[SessionPlan]
    clips: Sequence[Clip]
    window: Window
    drain_s: float
    seed: int


def hold(crowd: Crowd, on_progress: OnProgress) -> tuple[float, list[WorkerRecord]]:
    """Hold every session; returns the epoch (on ``time.monotonic``) and the records.

    ``on_progress`` gets the time since the epoch and the last word of each process, about twice
    a second. Raises ``FleetError``.
    """
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    pipes: list[Connection] = []
    try:
        for job in _jobs(crowd):
            ours, theirs = context.Pipe()
            processes.append(context.Process(target=main, args=(job, theirs), daemon=True))
            processes[-1].start()
            theirs.close()
            pipes.append(ours)
        for pipe in pipes:
            if not pipe.poll(_PREPARE_TIMEOUT_S) or _receive(pipe) != "ready":
                raise FleetError("a client process did not get ready")
        epoch = time.monotonic() + _HEAD_START_S
        for pipe in pipes:
            pipe.send(epoch)
        longest_s = max(clip.seconds for clip in crowd.clips)
        until_s = crowd.window.until_s + longest_s + crowd.drain_s + _GRACE_S
        return epoch, _collect(pipes, epoch, until_s, on_progress)
    finally:
        for process in processes:
            process.join(1.0)
            if process.is_alive():
                process.kill()


def _jobs(crowd: Crowd) -> list[Job]:
    count = max(1, -(-len(crowd.plans) // SESSIONS_PER_PROCESS))
    jobs = []
    for number in range(count):
        plans = tuple(crowd.plans[number::count])
        used = {turn.clip for plan in plans for turn in plan.turns}
        clips = {index: crowd.clips[index] for index in used}
        jobs.append(
            Job(
                crowd.url,
                crowd.token,
                crowd.protocol,
                plans,
                clips,
                crowd.window.until_s,
                crowd.drain_s,
                crowd.seed,
            )
        )
    return jobs


def _collect(
    pipes: Sequence[Connection], epoch: float, until_s: float, on_progress: OnProgress
) -> list[WorkerRecord]:
    latest: dict[Connection, Progress] = {}
    records: dict[Connection, WorkerRecord] = {}
    while len(records) < len(pipes):
        waiting = [pipe for pipe in pipes if pipe not in records]
        for pipe in wait(waiting, timeout=1.0):
            assert isinstance(pipe, Connection)
            said = _receive(pipe)
            if isinstance(said, WorkerRecord):
                records[pipe] = said
            elif isinstance(said, Progress):
                latest[pipe] = said
        now_s = time.monotonic() - epoch
        on_progress(now_s, list(latest.values()))
        if now_s > until_s:
            raise FleetError("a client process did not come to an end")
    return [records[pipe] for pipe in pipes]


def _receive(pipe: Connection) -> object:
    try:
        return pipe.recv()
    except EOFError as error:
        raise FleetError("a client process died; its error is above") from error
