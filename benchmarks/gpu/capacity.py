"""How many people who speak at once one device carries, found by trying, in real time.

The jobs are those that the engine's slots would send; the ASR lane, its scheduler and its backend
are the engine's own, and the model computes on the device. Left out: sockets, VAD, the slots and
their guesses at a pause, and other work beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from benchmarks.arrivals import Arrivals
from benchmarks.gpu.bench import Bench, Record, Row
from benchmarks.gpu.gpu_watch import GpuWatch
from benchmarks.gpu.models import folder_of, load_backend
from benchmarks.gpu.search import most_carried
from benchmarks.gpu.talk import Clock, Talk, WallClock, hold
from benchmarks.gpu.variants import best_on, forms_of
from engine.asr.backend import AsrJob
from engine.asr_lane import AsrLane
from engine.metrics import STAGE_SECONDS
from engine.types import SAMPLE_RATE, Pcm

SLOTS = 256
START = 256
GIVE_UP_S = 2.0
_STAGES = ("asr_encode", "asr_decode")


@dataclass(frozen=True, slots=True)
class Pattern:
    """How people speak, and for how long they are listened to; times in seconds."""

    utterances_s: tuple[float, float] = (4.0, 9.0)
    pauses_s: tuple[float, float] = (0.5, 2.0)
    partial_every_s: float = 0.6
    warm_s: float = 3.0
    window_s: float = 15.0

    def arrivals(self, speakers: int, seed: int) -> Arrivals:
        sound = _noise(60 * SAMPLE_RATE)
        lengths, pauses = (
            np.linspace(*ends, 51).tolist() for ends in (self.utterances_s, self.pauses_s)
        )
        return Arrivals(speakers, lengths, self.partial_every_s, seed, pauses, sound, "en")


@cache
def _noise(samples: int) -> Pcm:
    return np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)


QUICK = Pattern((0.5, 1.0), (0.1, 0.3), warm_s=0.3, window_s=1.2)


@dataclass(slots=True)
class Trials:
    """One load after another on one lane; every trial has keys of its own."""

    lane: AsrLane
    pattern: Pattern
    target_p95_s: float
    clock: Clock = field(default_factory=WallClock)
    device: str = "cpu"
    _keys: int = 0

    def run(self, speakers: int) -> Row:
        """One row: the percentiles of finals due after the warm-up, and what was busy.

        Shares are of the wall-clock time: of the lane's turns, and within them of the host's time
        in the backend's two stages; ``gpu_busy`` is the device's.
        """
        jobs = self._jobs(speakers)
        before = _stage_seconds()
        with GpuWatch(self.device) as watch:
            talk = hold(jobs, self.lane, self.clock, GIVE_UP_S)
        spent = {name: total - before[name] for name, total in _stage_seconds().items()}
        waits_s = self._waits_s(jobs, talk)
        return {
            "speakers": speakers,
            "finals": len(waits_s),
            **_percentiles_ms(waits_s),
            "unanswered": len(talk.unanswered),
            "doubled": talk.doubled,
            "failed": talk.failed,
            "partials_per_speech_s": round(self._partials_per_speech_s(jobs, talk), 3),
            "lane_busy": round(talk.busy_s / talk.wall_s, 3),
            **{f"{name}_share": round(of / talk.wall_s, 3) for name, of in spent.items()},
            "gpu_busy": watch.busy,
            "wall_s": round(talk.wall_s, 2),
            "carried": self._carried(talk, waits_s),
        }

    def _jobs(self, speakers: int) -> list[AsrJob]:
        until_s = self.pattern.warm_s + self.pattern.window_s
        jobs = self.pattern.arrivals(speakers, seed=1 + speakers).jobs(until_s)
        first, self._keys = self._keys, self._keys + speakers
        return [replace(job, key=job.key + first) for job in jobs]

    def _waits_s(self, jobs: Sequence[AsrJob], talk: Talk) -> list[float]:
        due = {(j.key, j.turn_id) for j in jobs if j.queued_at >= self.pattern.warm_s}
        return [wait_s for turn, wait_s in talk.waits_s.items() if turn in due]

    def _partials_per_speech_s(self, jobs: Sequence[AsrJob], talk: Talk) -> float:
        """Of utterances that were heard from their begin."""
        heard_s = {
            (job.key, job.turn_id): job.seconds
            for job in jobs
            if job.is_final and job.queued_at >= max(self.pattern.warm_s, job.seconds)
        }
        partials = sum(talk.partials.get(turn, 0) for turn in heard_s)
        return partials / sum(heard_s.values()) if heard_s else 0.0

    def _carried(self, talk: Talk, waits_s: Sequence[float]) -> bool:
        if talk.hopeless or talk.unanswered or talk.doubled or talk.failed or not waits_s:
            return False
        return float(np.percentile(waits_s, 95)) < self.target_p95_s


def search(trials: Trials, record: Record, name: str, start: int, most: int) -> int:
    """Speakers carried; a row for each load that was tried, ``model`` its ``name``."""

    def carried(speakers: int) -> bool:
        row = trials.run(speakers)
        record.add({"model": name, **row})
        return bool(row["carried"])

    return most_carried(carried, start, most)


def measure(bench: Bench, record: Record) -> None:
    """Rows: one for each load tried; ``carried``: speakers by model; ``pattern``: how they talk."""
    pattern = QUICK if bench.quick else replace(Pattern(), window_s=bench.window_s)
    fields = ("utterances_s", "pauses_s", "partial_every_s", "warm_s", "window_s")
    record.fact("pattern", {name: getattr(pattern, name) for name in fields})
    record.fact("target_p95_ms", bench.target_p95_s * 1e3)
    start, most = (1, 2) if bench.quick else (min(START, bench.most_speakers), bench.most_speakers)
    carried: dict[str, int] = {}
    for name in bench.models:
        with _lane(name, bench) as lane:
            trials = Trials(lane, pattern, bench.target_p95_s, device=bench.device)
            trials.run(start)  # compiles, and captures graphs; does not count
            carried[name] = search(trials, record, name, start, most)
            record.fact("carried", carried)


@contextmanager
def _lane(name: str, bench: Bench) -> Iterator[AsrLane]:
    """The lane around a model of that name's sizes, warmed up; its thread is not started."""
    variant = best_on(bench.device)
    slots = 4 if bench.quick else SLOTS
    with folder_of(name) as folder, forms_of(variant):
        backend = load_backend(folder, bench, variant, slots)
        backend.warmup()
        lane = AsrLane(backend, deliver=lambda _: None)
        try:
            yield lane
        finally:
            lane.close()


def _percentiles_ms(waits_s: Sequence[float]) -> Row:
    if not waits_s:
        return {}
    names = {"p50_ms": 50, "p95_ms": 95, "max_ms": 100}
    return {name: round(1e3 * float(np.percentile(waits_s, at)), 1) for name, at in names.items()}


def _stage_seconds() -> dict[str, float]:
    return {name: STAGE_SECONDS.labels(name)._sum.get() for name in _STAGES}
