"""``antiphon bench load``: sessions upon a server, and a report of what it did."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from benchmarks.load import profiler, report, results
from benchmarks.load.findings import Patience
from benchmarks.load.profiles import PROFILES
from benchmarks.load.progress import RunProgress
from benchmarks.load.records import Encoding
from benchmarks.load.run import Load, Server, clips_for, lengthened, measure
from benchmarks.load.speech import Clip, describe_source
from benchmarks.load.verdict import Target, find_capacity
from engine.errors import ConfigError
from server.process import ServerProcess


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_load(parser.add_argument_group("the load"))
    _add_server(parser.add_argument_group("the server"))
    add = parser.add_argument_group("the outcome").add_argument
    add("--find-capacity", action="store_true",
        help="after --sessions, search between the last that was carried and the first that was "
        "not")  # fmt: skip
    add("--target-p95", type=float, default=1.0, metavar="S",
        help="from end of speech to final text, for a load to be carried (default: 1)")  # fmt: skip
    add("--late", type=float, default=10.0, metavar="S",
        help="a final text that takes longer is listed (default: 10)")  # fmt: skip
    add("--output", type=Path, default=Path(".benchmarks/load.json"), metavar="FILE",
        help="JSON; the report is beside it, as .html (default: %(default)s)")  # fmt: skip


def _add_load(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--sessions", type=_counts, default=[8], metavar="N[,N…]",
        help="conversations at once; several numbers make a curve (default: 8)")  # fmt: skip
    add("--duration", type=float, default=30.0, metavar="S", help="measured time (default: 30)")
    add("--turns", type=int, default=0, metavar="N",
        help="measure longer where so few sessions would say fewer turns (default: 0)")  # fmt: skip
    add("--profile", choices=list(PROFILES), default="continuous",
        help="what the sessions do (default: continuous)")  # fmt: skip
    add("--encoding", choices=get_args(Encoding), default="pcm", help="of audio (default: pcm)")
    add("--ramp", type=float, default=3.0, metavar="S",
        help="time over which the sessions open (default: 3)")  # fmt: skip
    add("--warmup", type=float, default=3.0, metavar="S",
        help="after the ramp, and not measured (default: 3)")  # fmt: skip
    add("--drain", type=float, default=15.0, metavar="S",
        help="longest wait for the last answers (default: 15)")  # fmt: skip
    add("--seed", type=int, default=1, help="of phases, clips and pauses (default: 1)")


def _add_server(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--url", help="WebSocket address of a running server (default: start one here)")
    add("--token", help="bearer token, if that server wants one")
    add("--name", default="antiphon", help="what the report calls the server")
    add("--py-spy", action="store_true", help="profile the server during the last run")
    add("serve", nargs="*", metavar="-- SERVE-ARGS",
        help="arguments for the server that is started, e.g. -- --llm echo")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """0 if every run was carried, or a capacity of at least one session was found."""
    if args.url and args.serve:
        raise ConfigError("--url names a running server: it takes no serve arguments")
    console = Console(highlight=False)
    base = Load(1, args.profile, args.encoding, args.ramp, args.warmup, args.duration, args.drain,
                args.seed)  # fmt: skip
    clips = clips_for(args.profile)
    settings = {"profile": args.profile, "encoding": args.encoding, "serve": args.serve,
                "name": args.name, "speech": describe_source(), "clips": len(clips),
                "target_p95_s": args.target_p95}  # fmt: skip
    result = results.start("load", settings)
    with _server(args, console) as server:
        bench = Bench(server, base, clips, args, console, result)
        if args.find_capacity:
            found = find_capacity(bench.carries, args.sessions)
            result["capacity"] = {"sessions": found, "searched_up_to": max(args.sessions)}
            bench.save()
        else:
            for sessions in args.sessions:
                last = sessions == args.sessions[-1]
                bench.measure(sessions, profile=args.py_spy and last)
    console.print(summary_table(result))
    for line in conclusions(result):
        console.print(line)
    console.print(f"{args.output} and {args.output.with_suffix('.html')} have everything.")
    return 0 if _succeeded(result) else 1


class Bench:
    """Runs upon one server, each saved as soon as it is there."""

    def __init__(
        self,
        server: Server,
        base: Load,
        clips: list[Clip],
        args: argparse.Namespace,
        console: Console,
        result: dict[str, Any],
    ) -> None:
        self._server, self._base, self._clips = server, base, clips
        self._args, self._console, self._result = args, console, result

    def measure(self, sessions: int, profile: bool = False) -> dict[str, Any]:
        load = lengthened(replace(self._base, sessions=sessions), self._clips, self._args.turns)
        what = f"{self._server.name}, {load.profile}, {sessions:2} sessions"
        profiling: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if profile and self._server.pid is not None:
            profiling = profiler.profiled(self._server.pid, load.window)
        with profiling as profiled, RunProgress(self._console, load, what) as progress:
            run = measure(
                self._server,
                load,
                self._clips,
                Target(self._args.target_p95),
                Patience(late_s=self._args.late),
                progress.show,
            )
        if profiled is not None:
            run["profile"] = profiled.result()
        self._result["runs"].append(run)
        self._console.print(_line(run))
        self.save()
        return run

    def carries(self, sessions: int) -> bool:
        return bool(self.measure(sessions)["carried"])

    def save(self) -> None:
        results.write(self._result, self._args.output)
        report.write(self._result, self._args.output.with_suffix(".html"))


@contextlib.contextmanager
def _server(args: argparse.Namespace, console: Console) -> Iterator[Server]:
    if args.url:
        parts = urlsplit(args.url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme)
        if scheme is None:
            raise ConfigError(
                f"--url: {args.url} is no WebSocket address (ws://HOST:PORT/ws/audio)"
            )
        http_url = f"{scheme}://{parts.netloc}"
        yield Server(args.url, args.name, http_url=http_url, token=args.token)
        return
    with ServerProcess() as process:
        console.print("Starting a server …", style="dim")
        process.start(args.serve)
        yield Server(process.ws_url, args.name, http_url=process.url, pid=process.pid)


def _counts(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return counts


def _line(run: dict[str, Any]) -> str:
    final, words = run["latency"]["final_s"], run["words"]
    said = "carried" if run["carried"] else "; ".join(run["reasons"])
    if run["generator_was_late"]:
        said += " (the generator itself was late: the machine is too small for both)"
    return (
        f"{run['load']['sessions']:4} sessions  final p50 {final.get('p50', 0):.2f} s  "
        f"p95 {final.get('p95', 0):.2f} s  WER {words['percent']:.1f}  {said}"
    )


def summary_table(result: dict[str, Any]) -> Table:
    table = Table(title=f"{result['settings']['name']}: {result['settings']['profile']}")
    for name in ("N", "turns", "p50 s", "p95 s", "partial s", "ack ms", "WER", "alone", "cores",
                 "MB", ""):  # fmt: skip
        table.add_column(name, justify="right")
    for run in sorted(result["runs"], key=lambda one: one["load"]["sessions"]):
        final, words = run["latency"]["final_s"], run["words"]
        cost = run["cost"]
        table.add_row(
            str(run["load"]["sessions"]),
            f"{run['speech']['answered']}/{run['speech']['turns']}",
            *(f"{final.get(name, float('nan')):.2f}" for name in ("p50", "p95")),
            f"{run['latency']['first_partial_s'].get('p50', float('nan')):.2f}",
            f"{run['latency']['ack_ms'].get('p99', float('nan')):.1f}",
            f"{words['percent']:.1f}",
            f"{words['offline_percent']:.1f}",
            f"{cost['cpu_cores']:.2f}" if cost else "",
            f"{cost['memory_mb_max']:.0f}" if cost else "",
            "✓" if run["carried"] else "✗",
        )
    return table


def conclusions(result: dict[str, Any]) -> list[str]:
    lines = []
    if "capacity" in result:
        capacity = result["capacity"]
        lines.append(f"Carried: {capacity['sessions']} sessions "
                     f"(searched up to {capacity['searched_up_to']}).")  # fmt: skip
    for run in result["runs"]:
        for finding in run["findings_list"][:5]:
            where = f"session {finding['session']}"
            if finding["turn"] is not None:
                where += f", turn {finding['turn']}"
            lines.append(
                f"{run['load']['sessions']} sessions: {finding['kind']}: {where}: "
                f"{finding['detail']}"
            )
    return lines


def _succeeded(result: dict[str, Any]) -> bool:
    if "capacity" in result:
        return bool(result["capacity"]["sessions"])
    return all(run["carried"] for run in result["runs"])
