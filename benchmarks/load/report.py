"""A result of ``bench load`` as one HTML file that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from benchmarks.load import plots

_PAGE = Template((Path(__file__).parent / "report.html").read_text("utf-8"))
Run = dict[str, Any]
_LONG = 30
"""Characters of a cell that may be broken into lines."""


def write(result: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(result), "utf-8")


def render(result: dict[str, Any]) -> str:
    """The page; a run that measured nothing leaves its plots out."""
    runs = sorted(result["runs"], key=lambda run: run["load"]["sessions"])
    settings = result["settings"]
    return _PAGE.substitute(
        title=html.escape(f"{settings['name']} · {settings['profile']}"),
        summary=_summary(result, runs),
        curve="".join(_curves(runs, settings["target_p95_s"])),
        table=_table(_figures(runs), [_sessions_of(run) for run in runs]),
        runs="".join(_run(run, settings["target_p95_s"]) for run in reversed(runs)),
        machine=_table(_machine(result), ["value"]),
    )


def _summary(result: dict[str, Any], runs: Sequence[Run]) -> str:
    carried = [run["load"]["sessions"] for run in runs if run["carried"]]
    faults = sum(sum(run["findings"].values()) for run in runs)
    best_count = result.get("capacity", {}).get("sessions", max(carried, default=0))
    biggest = runs[-1] if runs else None
    tiles = [
        ("sessions carried", str(best_count),
         f"of {', '.join(str(run['load']['sessions']) for run in runs)} tried"),
        ("messages missing, doubled, astray …", str(faults), "over all runs"),
    ]  # fmt: skip
    best = next((run for run in reversed(runs) if run["carried"]), biggest)
    if best and best["latency"]["final_s"]["count"]:
        final, words = best["latency"]["final_s"], best["words"]
        tiles.insert(1, ("end of speech to final text, p95", f"{final['p95']:.2f} s",
                         f"p50 {final['p50']:.2f} s at {_sessions_of(best)}"))  # fmt: skip
        tiles.insert(2, ("word error rate", f"{words['percent']:.1f} %",
                         f"the model alone: {words['offline_percent']:.1f} %"))  # fmt: skip
    return "".join(
        f'<div class="tile"><span>{html.escape(name)}</span><b>{html.escape(value)}</b>'
        f"<small>{html.escape(note)}</small></div>"
        for name, value, note in tiles
    )


def _curves(runs: Sequence[Run], target_s: float) -> Iterator[str]:
    runs = [run for run in runs if run["latency"]["final_s"]["count"]]
    if len(runs) < 2:
        return
    counts = [run["load"]["sessions"] for run in runs]

    def line(name: str, *path: str, scale: float = 1.0) -> plots.Line:
        return name, counts, [_dig(run, path, float("nan")) * scale for run in runs]

    final = [line(p, "latency", "final_s", p) for p in ("p50", "p95", "max")]
    yield plots.curve(final, "End of speech to final text", "s", limit=target_s, logarithmic=True)
    words = [line("under load", "words", "percent"), line("alone", "words", "offline_percent")]
    yield plots.curve(words, "Word error rate", "%", dashed=("alone",))
    cores = [line("server", "cost", "cpu_cores"), line("generator", "generator", "cpu_cores")]
    yield plots.curve(cores, "Processor", "cores")
    memory = [line("server", "cost", "memory_mb_max")]
    yield plots.curve(memory, "Memory of the server", "MB")
    acks = [line(p, "latency", "ack_ms", p) for p in ("p50", "p95", "p99")]
    yield plots.curve(acks, "Chunk acknowledged", "ms", logarithmic=True)
    partials = [line("told", "speech", "partials_per_s")]
    yield plots.curve(partials, "Partial transcripts", "per second of speech")


def _figures(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Every figure: a row each, a column for each run."""
    rows: dict[str, list[str]] = {"carried": ["yes" if run["carried"] else "no" for run in runs]}
    rows["why not"] = ["; ".join(run["reasons"]) or "—" for run in runs]
    for stage, name in _STAGES.items():
        unit, digits = ("ms", 1) if stage.endswith("_ms") else ("s", 2)
        each = [_cells(runs, ("latency", stage, p), digits) for p in ("p50", "p95", "max")]
        rows[f"{name} ({unit})"] = [" · ".join(cells) for cells in zip(*each, strict=True)]
    for name, path, digits in _ROWS:
        rows[name] = _cells(runs, path, digits)
    for code in sorted({code for run in runs for code in run["errors"]}):
        rows[f"error: {code}"] = [str(run["errors"].get(code, 0)) for run in runs]
    for kind in sorted({kind for run in runs for kind in run["findings"]}):
        rows[f"finding: {kind}"] = [str(run["findings"].get(kind, 0)) for run in runs]
    return rows


_STAGES = {
    "final_s": "end of speech → final text",
    "after_voice_s": "end of the voice → final text",
    "silence_s": "silence after the voice in the recordings",
    "first_partial_s": "begin of speech → first partial",
    "first_token_s": "end of speech → first reply token",
    "response_s": "end of speech → chatbot_response",
    "ack_ms": "chunk → acknowledgement",
    "handshake_ms": "handshake",
    "send_late_ms": "the generator's own lateness",
}
_ROWS: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("lag: slope (s a minute)", ("lag", "slope_s_per_min"), 3),
    ("word error rate (%)", ("words", "percent"), 2),
    ("… of the model alone (%)", ("words", "offline_percent"), 2),
    ("words", ("words", "words"), 0),
    ("turns measured", ("speech", "turns"), 0),
    ("turns with a final text", ("speech", "answered"), 0),
    ("speech measured (s)", ("speech", "seconds"), 1),
    ("speaking at once, on average", ("speech", "at_once"), 2),
    ("partials per second of speech", ("speech", "partials_per_s"), 2),
    ("turns held back by a late answer", ("speech", "held_turns"), 0),
    ("server: cores", ("cost", "cpu_cores"), 2),
    ("server: processor time per second of speech (s)", ("cost", "cpu_per_speech_s"), 3),
    ("server: memory, highest (MB)", ("cost", "memory_mb_max"), 0),
    ("server: threads", ("cost", "threads_max"), 0),
    (
        "server: event loop, 99 % of timers late by less than (ms)",
        ("metrics", "event_loop", "p99_under_ms"),
        0,
    ),
    (
        "server: event loop, latest timer by less than (ms)",
        ("metrics", "event_loop", "latest_under_ms"),
        0,
    ),
    (
        "server: event loop, timers late by more than 20 ms",
        ("metrics", "event_loop", "over_20_ms"),
        0,
    ),
    ("generator: cores", ("generator", "cpu_cores"), 2),
    ("generator: processes", ("generator", "processes"), 0),
    ("generator: memory (MB)", ("generator", "memory_mb"), 0),
)


def _run(run: Run, target_s: float) -> str:
    load = run["load"]
    measured = (load["ramp_s"] + load["warmup_s"], load["ramp_s"] + load["warmup_s"]
                + load["duration_s"])  # fmt: skip
    parts = []
    if run["series"]["final"]:
        parts.append(plots.over_time(run["series"]["final"], target_s, measured))
    if run["series"]["server"]:
        parts.append(plots.machine_over_time(run["series"]["server"], measured))
    if run["metrics"] and run["metrics"]["batch_sizes"]:
        parts.append(plots.batch_sizes(run["metrics"]["batch_sizes"]))
    said = "carried" if run["carried"] else "; ".join(run["reasons"])
    kind = "good" if run["carried"] else "bad"
    return (
        f'<section><h2>{_sessions_of(run)} <span class="{kind}">{html.escape(said)}</span>'
        f'</h2><div class="plots">{"".join(parts)}</div>{_findings(run)}{_stages(run)}'
        f"{_sessions(run)}{_profile(run)}</section>"
    )


def _sessions_of(run: Run) -> str:
    count = run["load"]["sessions"]
    return "1 session" if count == 1 else f"{count} sessions"


def _findings(run: Run) -> str:
    if not run["findings_list"]:
        return "<p>Every message that was due came, once, to the session that it was meant for.</p>"
    rows = {
        f"{index}": [one["kind"], f"{one['session']}", _text(one["turn"]), one["detail"]]
        for index, one in enumerate(run["findings_list"], 1)
    }
    inside = _table(rows, ["what", "session", "turn", "detail"])
    total = sum(run["findings"].values())
    return f"<details open><summary>{total} findings</summary>{inside}</details>"


def _stages(run: Run) -> str:
    stages = (run["metrics"] or {}).get("stages")
    if not stages:
        return ""
    rows = {
        name: [f"{one['count']:.0f}", f"{one['mean_ms']:.2f}", f"{one['total_s']:.2f}"]
        for name, one in sorted(stages.items())
    }
    inside = _table(rows, ["times", "mean (ms)", "together (s)"])
    return f"<details><summary>The server's own stages</summary>{inside}</details>"


def _sessions(run: Run) -> str:
    columns = [name for name in run["sessions"][0] if name != "session"] if run["sessions"] else []
    rows = {f"{one['session']}": [_text(one[name]) for name in columns] for one in run["sessions"]}
    inside = _table(rows, [name.replace("_", " ") for name in columns])
    return f"<details><summary>Each session</summary>{inside}</details>"


def _profile(run: Run) -> str:
    profile = run.get("profile")
    if not profile or "error" in profile:
        return ""
    rows = {
        one["name"]: [f"{one['cores']:.2f}", *_lines_seen(one["lines"])]
        for one in profile["threads"]
    }
    inside = _table(rows, ["cores", "lines that it was seen in most"])
    return f"<details open><summary>Where the server's time goes</summary>{inside}</details>"


def _lines_seen(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return [", ".join(f"{one['where']} {one['share']:.0%}" for one in lines) or "—"]


def _machine(result: dict[str, Any]) -> dict[str, list[str]]:
    machine, settings = result["machine"], result["settings"]
    rows = {name.replace("_", " "): [_text(value)] for name, value in machine.items()
            if name != "versions"}  # fmt: skip
    rows |= {name.replace("_", " "): [_text(value)] for name, value in settings.items()}
    rows["versions"] = [", ".join(f"{k} {v}" for k, v in machine["versions"].items())]
    return rows


def _table(rows: Mapping[str, Sequence[str]], columns: Sequence[str]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ["", *columns])
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>" + "".join(_td(cell) for cell in cells) + "</tr>"
        for name, cells in rows.items()
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _td(text: str) -> str:
    kind = ' class="long"' if len(text) > _LONG else ""
    return f"<td{kind}>{html.escape(text)}</td>"


def _cells(runs: Sequence[Run], path: Sequence[str], digits: int) -> list[str]:
    values = [_dig(run, path, None) for run in runs]
    return ["—" if value is None else f"{value:,.{digits}f}" for value in values]


def _dig(run: Any, path: Sequence[str], default: Any) -> Any:
    for name in path:
        if not isinstance(run, dict) or run.get(name) is None:
            return default
        run = run[name]
    return run


def _text(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "—"
    return str(value)
