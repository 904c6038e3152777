"""docs/BENCHMARKS.md and its plots, from the files of results: ``python -m benchmarks.page``.

Every figure on the page is read from a file; where a file is missing, the page says that it was
not measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any

from benchmarks import page_final_time, page_gpu
from benchmarks.least_work import POSITIONS_PER_S, TOKENS_PER_S, Shapes, decoder_flop, encoder_flop
from benchmarks.load import plots, results
from benchmarks.page_parts import cell, dig, markdown_table, measured_at
from benchmarks.page_reply import replies
from benchmarks.peers.registry import OURS, PEERS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "BENCHMARKS.md"
TEMPLATE = Path(__file__).parent / "page.md"
NOT_MEASURED = "*Not measured yet: `make bench` writes this part.*"
Result = dict[str, Any]
Runs = Sequence[dict[str, Any]]


def build(folder: Path, page: Path) -> None:
    """Write the page beside which the plots lie in ``benchmarks/``."""
    loads = {name: results.read(folder / f"load-{name}.json") for name in _LOADS}
    compare = [results.read(folder / f"{name}.json") for name in ("compare-stream", "compare")]
    limits = results.read(folder / "limits.json")
    latency = results.read(folder / "latency.json")
    profile = results.read(folder / "load-profile.json")
    peers = merge([one for one in compare if one], loads["continuous"])
    pictures = Pictures(page.parent / "benchmarks")
    text = Template(TEMPLATE.read_text("utf-8")).substitute(
        when=_when([*loads.values(), *compare, limits]),
        capacity=_capacity(loads["continuous"], "continuous", pictures),
        other=_capacity(loads["continuous-ctranslate2"], "continuous-ctranslate2", pictures),
        conversation=_capacity(loads["conversation"], "conversation", pictures),
        others=_others([one for one in (loads["webm"], loads["mixed"], loads["churn"]) if one]),
        peers=_peers(peers, pictures),
        cannot=_cannot(peers),
        replies=replies(folder, pictures),
        stages=_stages(latency) + _stage_shares(latency, limits),
        limits=_limits(limits, loads["continuous"]),
        final_time=page_final_time.section(results.read(folder / "final_time.json"))
        or NOT_MEASURED,
        simulation=_simulation(results.read(folder / "simulation.json")),
        profile=_profile(profile),
        gpu=page_gpu.section(folder, pictures),
    )
    page.write_text(text, "utf-8")


SEGMENT_S = 5.0
_PEAKS = {
    "product_float32_gflops": "matrix product, float32 (GFLOP/s)",
    "product_bfloat16_gflops": "matrix product, bfloat16 (GFLOP/s)",
    "product_int8_gops": "matrix product, int8 (GOP/s)",
    "copy_gbyte_per_s": "memory copy, reads and writes (GB/s)",
}
_INSIDE = ("_p50_ms", "_p99_ms", "_mean_ms", "rss_mb")
_LOADS = ("continuous", "continuous-ctranslate2", "conversation", "webm", "mixed", "churn")


class Pictures:
    """A folder of plots; each is named, and comes back as a Markdown image."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, svg: str, says: str) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{name}.svg").write_text(plots.standalone(svg), "utf-8")
        return f"![{says}](benchmarks/{name}.svg)"


def merge(compared: Sequence[Result], ours: Result | None) -> Result | None:
    """All servers' runs in one result; ours come from the load test where both have them."""
    if not compared:
        return None
    merged: Result = dict(compared[0]) | {"runs": [], "peers": {}}
    for one in compared:
        merged["peers"] |= one["peers"]
        merged["runs"] += one["runs"]
    counts = {run["load"]["sessions"] for run in merged["runs"]}
    if ours is not None and not any(run["server"] == OURS for run in merged["runs"]):
        merged["runs"] += [run for run in ours["runs"] if run["load"]["sessions"] in counts]
    return merged


def _when(found: Sequence[Result | None]) -> str:
    known = [one for one in found if one]
    return measured_at(known[0]) if known else NOT_MEASURED


def _capacity(result: Result | None, name: str, pictures: Pictures) -> str:
    if result is None:
        return NOT_MEASURED
    runs = _ordered(result["runs"])
    rows = [
        [
            str(run["load"]["sessions"]),
            f"{run['speech']['answered']}/{run['speech']['turns']}",
            *(cell(run, 2, "latency", "final_s", p) for p in ("p50", "p95", "max")),
            cell(run, 2, "latency", "first_token_s", "p50"),
            cell(run, 2, "latency", "response_s", "p95"),
            cell(run, 1, "latency", "ack_ms", "p99"),
            cell(run, 2, "speech", "partials_per_s"),
            cell(run, 1, "words", "percent"),
            cell(run, 1, "words", "offline_percent"),
            cell(run, 2, "cost", "cpu_cores"),
            cell(run, 0, "cost", "memory_mb_max"),
            "yes" if run["carried"] else "; ".join(run["reasons"]),
        ]
        for run in runs
    ]
    head = ["sessions", "turns", "final text p50 (s)", "p95", "max", "first token p50 (s)",
            "reply p95 (s)", "ack p99 (ms)", "partials/s", "WER", "alone", "cores", "MB",
            "carried"]  # fmt: skip
    parts = [markdown_table(head, rows)]
    if "capacity" in result:
        parts.append(f"Carried: **{result['capacity']['sessions']} sessions** "
                     f"(tried up to {result['capacity']['searched_up_to']}).")  # fmt: skip
    if len(runs) > 1:
        target_s = result["settings"]["target_p95_s"]
        lines = [_line(runs, p, "latency", "final_s", p) for p in ("p50", "p95", "max")]
        svg = plots.curve(lines, "End of speech to final text", "s", limit=target_s,
                          logarithmic=True)  # fmt: skip
        cores = [_line(runs, "server", "cost", "cpu_cores"),
                 _line(runs, "generator", "generator", "cpu_cores")]  # fmt: skip
        parts.append(
            pictures.add(f"{name}-latency", svg, "Latency against sessions")
            + " "
            + pictures.add(f"{name}-cores", plots.curve(cores, "Processor", "cores"),
                           "Cores against sessions")
        )  # fmt: skip
    return "\n\n".join([*parts, measured_at(result)])


def _others(found: Sequence[Result]) -> str:
    if not found:
        return NOT_MEASURED
    rows = [
        [
            run["load"]["profile"],
            run["load"]["encoding"] if run["load"]["profile"] != "mixed" else "all",
            str(run["load"]["sessions"]),
            f"{run['speech']['answered']}/{run['speech']['turns']}",
            cell(run, 2, "latency", "final_s", "p50"),
            cell(run, 2, "latency", "final_s", "p95"),
            cell(run, 1, "words", "percent"),
            cell(run, 1, "words", "offline_percent"),
            str(sum(run["findings"].values())),
            "yes" if run["carried"] else "; ".join(run["reasons"]),
        ]
        for result in found
        for run in result["runs"]
    ]
    head = ["profile", "audio", "sessions", "turns", "final text p50 (s)", "p95", "WER", "alone",
            "findings", "carried"]  # fmt: skip
    return markdown_table(head, rows)


def _peers(result: Result | None, pictures: Pictures) -> str:
    if result is None:
        return NOT_MEASURED
    ours = {run["load"]["sessions"]: run for run in result["runs"] if run["server"] == OURS}
    rows = []
    for name, peer in PEERS.items():
        about = result["peers"].get(name, {})
        runs = _ordered([run for run in result["runs"] if run["server"] == name])
        rows += [_peer_row(peer.title, run, ours.get(run["load"]["sessions"])) for run in runs]
        if "unavailable" in about:
            rows.append([peer.title, "—", f"not measured: {about['unavailable']}", *["—"] * 7])
        elif "stopped_after" in about:
            after = f"over {about['stopped_after']}"
            rows.append([peer.title, after, "not tried: hopeless before", *["—"] * 7])
    head = ["server", "speakers", "final text p50 (s)", "p95 (s)", "p95 ÷ ours", "WER", "alone",
            "partials/s", "CPU s per s of speech", "÷ ours"]  # fmt: skip
    lines = [
        (peer.title, [run["load"]["sessions"] for run in runs],
         [run["latency"]["final_s"]["p95"] for run in runs])
        for name, peer in PEERS.items()
        if (runs := _ordered([run for run in result["runs"] if run["server"] == name
                              and run["latency"]["final_s"]["count"]]))
    ]  # fmt: skip
    svg = plots.curve(lines, "p95, end of speech to final text", "s",
                      limit=result["settings"]["target_p95_s"], logarithmic=True)  # fmt: skip
    return "\n\n".join([
        markdown_table(head, rows),
        pictures.add("peers", svg, "95th percentile of the time to the final text, by speakers"),
        measured_at(result),
    ])  # fmt: skip


def _peer_row(title: str, run: dict[str, Any], ours: dict[str, Any] | None) -> list[str]:
    def ratio(*path: str) -> str:
        theirs, own = dig(run, *path), dig(ours, *path)
        return "—" if theirs is None or not own else f"{theirs / own:.1f}"

    return [
        title,
        str(run["load"]["sessions"]),
        cell(run, 2, "latency", "final_s", "p50"),
        cell(run, 2, "latency", "final_s", "p95"),
        ratio("latency", "final_s", "p95"),
        cell(run, 1, "words", "percent"),
        cell(run, 1, "words", "offline_percent"),
        cell(run, 2, "speech", "partials_per_s"),
        cell(run, 3, "cost", "cpu_per_speech_s"),
        ratio("cost", "cpu_per_speech_s"),
    ]


def _cannot(result: Result | None) -> str:
    rows = []
    for name, peer in PEERS.items():
        if name == OURS:
            continue
        about = (result or {}).get("peers", {}).get(name, {})
        found = about.get("versions", {})
        versions = ", ".join(f"{package} {version}" for package, version in found.items())
        rows.append([peer.title, "; ".join(peer.cannot), "; ".join(peer.remarks), versions or "—"])
    return markdown_table(["server", "cannot", "as measured here", "versions"], rows)


def _stages(result: Result | None) -> str:
    """Of pytest-benchmark's own file."""
    if result is None:
        return NOT_MEASURED
    rows = []
    for one in result["benchmarks"]:
        stats = one["stats"]
        extra = ", ".join(f"{name} {value:g}" for name, value in one["extra_info"].items()
                          if name.endswith(_INSIDE))  # fmt: skip
        rows.append([f"`{one['name']}`", f"{stats['median'] * 1e3:,.2f}",
                     f"{stats['min'] * 1e3:,.2f}", str(stats["rounds"]), extra])  # fmt: skip
    return markdown_table(["benchmark", "median (ms)", "min (ms)", "rounds", "inside"], rows)


def _stage_shares(latency: Result | None, limits: Result | None) -> str:
    """How much of a stage's time its arithmetic needs at the machine's measured peak."""
    if latency is None or limits is None:
        return ""
    found = [one["extra_info"] for one in latency["benchmarks"]
             if one["name"] == "test_whisper_encode_and_decode[1]"]  # fmt: skip
    if not found:
        return ""
    model = Shapes(**limits["shapes"])
    positions, tokens = int(SEGMENT_S * POSITIONS_PER_S), int(SEGMENT_S * TOKENS_PER_S)
    least_flop = {
        "asr_encode": encoder_flop(model, positions),
        "asr_decode": decoder_flop(model, positions, tokens),
    }
    rows = []
    for stage, flop in least_flop.items():
        mean_ms, least_ms = found[0][f"{stage}_mean_ms"], flop / _best_rate(limits) / 1e6
        rows.append([stage, f"{mean_ms:.1f}", f"{flop / 1e9:.2f}", f"{least_ms:.2f}",
                     f"{100 * least_ms / mean_ms:.1f} %"])  # fmt: skip
    head = ["stage, one segment of five seconds", "mean (ms)", "least work (GFLOP)",
            "at the machine's peak (ms)", "share"]  # fmt: skip
    return f"\n\n{markdown_table(head, rows)}"


def _best_rate(limits: Result) -> float:
    """The highest measured rate of a matrix product, in G/s."""
    return float(max(v for name, v in limits["peaks"].items() if name.startswith("product_")))


def _limits(limits: Result | None, load: Result | None) -> str:
    if limits is None:
        return NOT_MEASURED
    least, peaks = limits["least"], limits["peaks"]
    rows = [[_PEAKS[name], f"{value:,.1f}"] for name, value in peaks.items()]
    work_gflop = least["encoder_gflop_per_s"] + least["decoder_gflop_per_s"]
    parts = [
        markdown_table(["peak of this machine, all cores", "measured"], rows),
        f"A second of speech (in utterances of {least['utterance_s']:g} s, "
        f"{least['tokens_per_s']:g} tokens a second) needs at least "
        f"{least['encoder_gflop_per_s']:.2f} GFLOP of the encoder and "
        f"{least['decoder_gflop_per_s']:.2f} of the decoder, and "
        f"{least['decoder_gbyte_per_s_int8']:.2f} GB of int8 weights if no two sessions share a "
        "pass; without partial transcripts, and without silence around the speech.",
        *_share(work_gflop / _best_rate(limits), load, limits),
    ]
    return "\n\n".join([*parts, measured_at(limits)])


def _share(machine_s: float, load: Result | None, limits: Result) -> Iterator[str]:
    costs = [(run["load"]["sessions"], cost) for run in _ordered((load or {}).get("runs", []))
             if (cost := dig(run, "cost", "cpu_per_speech_s"))]  # fmt: skip
    if not costs:
        return
    cores = limits["machine"]["cores"]
    least_s = machine_s * cores
    rows = [[str(sessions), f"{cost:.3f}", f"{100 * least_s / cost:.1f} %"]
            for sessions, cost in costs]  # fmt: skip
    yield (
        f"At the highest of these peaks that is {least_s * 1e3:.1f} ms of one core. What the "
        "server really spends on a second of speech, partial transcripts included, and the share "
        "that is strictly needed:"
    )
    yield markdown_table(["sessions", "core seconds per second of speech", "needed share"], rows)


def _simulation(result: Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    rows = [
        [
            str(run["sessions"]),
            cell(run, 2, "final_p50_s"),
            cell(run, 2, "final_p95_s"),
            cell(run, 2, "partials_per_s"),
            f"{100 * run['busy']:.0f} %",
        ]
        for run in result["runs"]
    ]
    head = ["speakers", "final text p50 (s)", "p95", "partials/s", "the model is busy"]
    settings = result["settings"]
    said = (
        f"A segment costs {settings['price_s'] * 1e3:.0f} ms, as at "
        f"{settings['price_from_sessions']} sessions above."
    )
    return f"{said}\n\n{markdown_table(head, rows)}"


def _profile(result: Result | None) -> str:
    profile = (result or {"runs": [{}]})["runs"][-1].get("profile")
    if not profile or "own" not in profile:
        return NOT_MEASURED
    sessions = (result or {})["runs"][-1]["load"]["sessions"]
    rows = [[f"`{one['where']}`", f"{100 * one['share']:.1f} %"] for one in profile["own"][:12]]
    table = markdown_table([f"at {sessions} sessions", "share of Python samples"], rows)
    threads = ", ".join(f"{name} {cpu_s:.2f} s" for name, cpu_s in profile["cpu_s"].items())
    said = f"{profile['samples']} samples of running Python threads at {profile['rate_hz']} Hz."
    return f"Processor time of each thread: {threads}.\n\n{table}\n\n{said}"


def _line(runs: Runs, name: str, *path: str) -> plots.Line:
    known = [(run["load"]["sessions"], value) for run in runs
             if (value := dig(run, *path)) is not None]  # fmt: skip
    return name, [one for one, _ in known], [value for _, value in known]


def _ordered(runs: Runs) -> list[dict[str, Any]]:
    return sorted(runs, key=lambda run: int(run["load"]["sessions"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--results", type=Path, default=results.RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    build(args.results, args.page)
    print(args.page)


if __name__ == "__main__":
    main()
