"""``antiphon bench compare``: this server and its peers, one after another, under the same load."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.load import results
from benchmarks.load.findings import Patience
from benchmarks.load.progress import RunProgress
from benchmarks.load.run import Load, Server, clips_for, lengthened, measure
from benchmarks.load.speech import Clip, describe_source
from benchmarks.load.verdict import Target
from benchmarks.peers import environment
from benchmarks.peers.environment import PeerUnavailable
from benchmarks.peers.peer_process import running
from benchmarks.peers.registry import OURS, PEERS
from server.process import ServerFailed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--sessions",
        type=_counts,
        default=[1, 4],
        metavar="N[,N…]",
        help="speakers at once (default: 1,4)",
    )
    add("--duration", type=float, default=20.0, metavar="S", help="measured time (default: 20)")
    add("--turns", type=int, default=0, metavar="N",
        help="measure longer where so few speakers would say fewer turns (default: 0)")  # fmt: skip
    add("--ramp", type=float, default=3.0, metavar="S", help="(default: 3)")
    add("--warmup", type=float, default=3.0, metavar="S", help="(default: 3)")
    add("--drain", type=float, default=12.0, metavar="S", help="(default: 12)")
    add("--seed", type=int, default=1, help="of phases and clips (default: 1)")
    add(
        "--peers",
        type=_names,
        default=list(PEERS),
        metavar="NAME[,NAME…]",
        help=f"of {', '.join(PEERS)} (default: all)",
    )
    add("--model", default="base", help="Whisper model (default: base)")
    add(
        "--threads",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="of each server (default: all cores)",
    )
    add("--target-p95", type=float, default=1.0, metavar="S", help="(default: 1)")
    add("--install-only", action="store_true", help="install the peers and stop")
    add("--output", type=Path, default=Path(".benchmarks/compare.json"), metavar="FILE",
        help="(default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """0 if every server that was asked for could be measured."""
    console = Console(highlight=False)
    if args.install_only:
        return _install(args.peers, console)
    clips = clips_for("continuous")
    result = results.start(
        "compare",
        {"profile": "continuous", "encoding": "pcm", "model": args.model, "threads": args.threads,
         "speech": describe_source(), "clips": len(clips), "target_p95_s": args.target_p95},
    )  # fmt: skip
    result["peers"] = {}
    for name in args.peers:
        peer = PEERS[name]
        about: dict[str, Any] = {
            "title": peer.title, "cannot": list(peer.cannot), "remarks": list(peer.remarks)
        }  # fmt: skip
        result["peers"][name] = about
        try:
            about["versions"] = _versions(name)
            _measure(name, args, clips, console, result)
        except (PeerUnavailable, ServerFailed) as error:
            about["unavailable"] = str(error)
            console.print(f"{peer.title}: {error}", style="yellow")
        results.write(result, args.output)
    console.print(ratio_table(result))
    console.print(f"{args.output} has everything.")
    return int(any("unavailable" in about for about in result["peers"].values()))


def _install(names: list[str], console: Console) -> int:
    status = 0
    for name in names:
        if name == OURS:
            continue
        try:
            environment.python_of(PEERS[name])
            console.print(f"{PEERS[name].title}: installed")
        except PeerUnavailable as error:
            console.print(f"{PEERS[name].title}: {error}", style="yellow")
            status = 1
    return status


def _measure(
    name: str, args: argparse.Namespace, clips: list[Clip], console: Console, result: dict[str, Any]
) -> None:
    for sessions in args.sessions:
        load = Load(sessions, ramp_s=args.ramp, warmup_s=args.warmup,
                    duration_s=args.duration, drain_s=args.drain, seed=args.seed)  # fmt: skip
        # A server of its own for each load: what one was too much for is still busy with it after.
        with running(name, PEERS[name], args.model, args.threads) as server:
            _warm_up(server, args, clips, console)
            run = _run(server, lengthened(load, clips, args.turns), args, clips, console)
        result["runs"].append(run)
        results.write(result, args.output)


def _warm_up(server: Server, args: argparse.Namespace, clips: list[Clip], console: Console) -> None:
    """One short utterance, so that models are loaded and first calls are over."""
    shortest = min(clips, key=lambda clip: clip.seconds)
    _run(server, Load(1, ramp_s=0.0, warmup_s=0.0, duration_s=1.0, drain_s=args.drain), args,
         [shortest], console)  # fmt: skip


def _run(
    server: Server, load: Load, args: argparse.Namespace, clips: list[Clip], console: Console
) -> dict[str, Any]:
    what = f"{PEERS[server.name].title}, {load.sessions} sessions"
    with RunProgress(console, load, what) as progress:
        return measure(server, load, clips, Target(args.target_p95), Patience(), progress.show)


def ratio_table(result: dict[str, Any]) -> Table:
    """Each server's figures at each load, and how many times ours they are."""
    table = Table(title="The same audio at the same moments, on the same cores")
    for column in ("server", "N", "p50 s", "p95 s", "× ours", "WER", "partials/s", "CPU s/s",
                   "× ours", ""):  # fmt: skip
        table.add_column(column, justify="left" if column == "server" else "right")
    ours = {run["load"]["sessions"]: run for run in result["runs"] if run["server"] == OURS}
    for run in result["runs"]:
        final, base = run["latency"]["final_s"], ours.get(run["load"]["sessions"])
        table.add_row(
            run["server"],
            str(run["load"]["sessions"]),
            *(f"{final[p]:.2f}" if final["count"] else "—" for p in ("p50", "p95")),
            ratio(run, base, "latency", "final_s", "p95"),
            f"{run['words']['percent']:.1f}",
            f"{run['speech']['partials_per_s']:.2f}",
            f"{run['cost'].get('cpu_per_speech_s', float('nan')):.3f}",
            ratio(run, base, "cost", "cpu_per_speech_s"),
            "✓" if run["carried"] else "✗",
        )
    return table


def ratio(run: dict[str, Any], base: dict[str, Any] | None, *path: str) -> str:
    """``run``'s figure as a multiple of ``base``'s, or a dash."""
    ours: Any = base
    for name in path:
        run, ours = (run or {}).get(name, {}), (ours or {}).get(name, {})
    if not ours or run in ({}, None):
        return "—"
    return f"{float(run) / float(ours):.1f}"  # type: ignore[arg-type]


def _versions(name: str) -> dict[str, str]:
    if name == OURS:
        return {}
    wanted = {"whisper-live", "whisper_live", "faster-whisper", "ctranslate2", "pywhispercpp",
              "torch", "websockets"}  # fmt: skip
    found = environment.versions(environment.python_of(PEERS[name]))
    return {package: version for package, version in found.items() if package in wanted}


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"unknown peer {name}; known are {', '.join(PEERS)}")
    return names
