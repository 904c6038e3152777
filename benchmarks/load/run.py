"""One measured run: a number of sessions, a profile, a server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.load import figures, fleet, server_watch
from benchmarks.load.findings import Patience, find
from benchmarks.load.offline import offline_texts
from benchmarks.load.profiles import PROFILES, SPEECH_SHARE, WITH_PAUSES, Window
from benchmarks.load.records import Encoding, WorkerRecord
from benchmarks.load.speech import Clip, load_english, load_mixed
from benchmarks.load.verdict import Target, generator_was_late, reasons
from benchmarks.load.voice import silences_s

_KEPT_FINDINGS = 200


@dataclass(frozen=True, slots=True)
class Server:
    """What is measured, and how it is reached."""

    ws_url: str
    name: str = "antiphon"
    protocol: str = "antiphon"
    http_url: str | None = None
    """Where its ``/metrics`` are, if it has any."""
    pid: int | None = None
    """Of a server on this machine, whose processes are watched."""
    acknowledges: bool = True
    answers: bool = True
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What is put upon it."""

    sessions: int
    profile: str = "continuous"
    encoding: Encoding = "pcm"
    ramp_s: float = 3.0
    warmup_s: float = 3.0
    duration_s: float = 30.0
    drain_s: float = 15.0
    seed: int = 1

    @property
    def window(self) -> Window:
        return Window(self.ramp_s, self.warmup_s, self.duration_s)

    @property
    def total_s(self) -> float:
        return self.window.until_s + self.drain_s


def lengthened(load: Load, clips: Sequence[Clip], turns: int) -> Load:
    """Long enough for about so many turns in all, where few sessions would say fewer."""
    each_s = sum(clip.seconds for clip in clips) / len(clips)
    if load.profile in WITH_PAUSES:
        each_s /= SPEECH_SHARE
    needed_s = math.ceil(turns * each_s / load.sessions)
    return replace(load, duration_s=max(load.duration_s, float(needed_s)))


def clips_for(profile: str) -> list[Clip]:
    return load_mixed() if profile == "mixed" else load_english()


def measure(
    server: Server,
    load: Load,
    clips: Sequence[Clip],
    target: Target,
    patience: Patience,
    on_progress: fleet.OnProgress,
) -> dict[str, Any]:
    """Everything that one run showed, as JSON would have it."""
    crowd = _crowd(server, load, clips)
    used = {turn.clip for plan in crowd.plans for turn in plan.turns}
    spoken = [clips[index] for index in used]
    alone = dict(zip(used, offline_texts(spoken), strict=True))
    silence_s = dict(zip(used, silences_s(spoken), strict=True))
    watch = server_watch.ServerWatch(server.pid)
    before = server_watch.scrape(server.http_url, server.token) if server.http_url else {}
    watch.start()
    try:
        epoch, workers = fleet.hold(crowd, on_progress)
    finally:
        watch.stop()
    after = server_watch.scrape(server.http_url, server.token) if server.http_url else {}
    sessions = sorted((one for w in workers for one in w.sessions), key=lambda one: one.number)
    findings = find(
        sessions, clips, patience, acknowledges=server.acknowledges, answers=server.answers
    )
    window = load.window
    measured = figures.select(sessions, window)
    run: dict[str, Any] = {
        "server": server.name,
        "load": asdict(load),
        "latency": figures.latencies(measured, silence_s),
        "lag": figures.lag(measured, window),
        "speech": figures.speech(measured, clips, window),
        "words": figures.word_errors(measured, clips, alone),
        "findings": figures.count(findings),
        "errors": figures.errors_by_code(findings),
        "findings_list": [one.as_dict() for one in findings[:_KEPT_FINDINGS]],
        "cost": _cost(watch, epoch, window),
        "metrics": server_watch.between(before, after) if after else None,
        "generator": _generator(workers),
        "sessions": figures.of_sessions(measured, clips, findings),
        "opened": sum(one.opened_s is not None for one in sessions),
        "series": {
            "final": figures.final_series(measured),
            "server": _server_series(watch, epoch),
        },
    }
    if run["cost"] and run["speech"]["inside_s"]:
        run["cost"]["cpu_per_speech_s"] = run["cost"]["cpu_s"] / run["speech"]["inside_s"]
    run["reasons"] = reasons(run, target)
    run["carried"] = not run["reasons"]
    run["generator_was_late"] = generator_was_late(run)
    return run


def _crowd(server: Server, load: Load, clips: Sequence[Clip]) -> fleet.Crowd:
    plans = PROFILES[load.profile](load.sessions, load.window, clips, load.seed)
    if load.profile != "mixed":
        plans = [replace(plan, encoding=load.encoding) for plan in plans]
    return fleet.Crowd(
        server.ws_url,
        server.token,
        server.protocol,
        plans,
        clips,
        load.window,
        load.drain_s,
        load.seed,
    )


def _cost(watch: server_watch.ServerWatch, epoch: float, window: Window) -> dict[str, float]:
    from_s, until_s = epoch + window.measure_from_s, epoch + window.until_s
    return server_watch.cost(watch.samples, from_s, until_s)


def _generator(workers: Sequence[WorkerRecord]) -> dict[str, float]:
    return {
        "processes": len(workers),
        "cpu_s": sum(worker.cpu_s for worker in workers),
        "cpu_cores": sum(worker.cpu_s / worker.wall_s for worker in workers),
        "memory_mb": sum(worker.memory_mb for worker in workers),
    }


def _server_series(watch: server_watch.ServerWatch, epoch: float) -> list[list[float]]:
    """``[seconds, cores in use, memory in MB, threads]``."""
    pairs = zip(watch.samples, watch.samples[1:], strict=False)
    return [
        [
            round(now.at_s - epoch, 2),
            round((now.cpu_s - last.cpu_s) / (now.at_s - last.at_s), 3),
            round(now.memory_mb, 1),
            now.threads,
        ]
        for last, now in pairs
    ]
