"""The part of docs/BENCHMARKS.md about GPUs, from the files of ``python -m benchmarks.gpu``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.gpu import result as results
from benchmarks.load import plots
from benchmarks.page_parts import cell, markdown_table

Part = dict[str, Any]
Rows = Sequence[dict[str, Any]]

COMMAND = """```
python -m benchmarks.gpu --out benchmarks/results/gpu-DEVICE.json
```"""
NONE = f"""**No GPU was at hand: none of this has been measured on one, and so there is no
figure.** The Triton kernels and the backend for exllamav2 are tested as far as a CPU can
([KERNELS.md](KERNELS.md)). On a machine that has a GPU, this measures everything and stops after 25
minutes at most; `--only` measures single parts, and `--help` lists them:

{COMMAND}

It runs the tests that a GPU decides; each kernel against its torch form; Whisper's encoder and
decoder at the sizes of `base` and `large-v3-turbo` for batches of 1 to 256, with and without
kernels and graphs; VAD for up to 4,096 slots; how many people one GPU hears at once with a p95 to
the final text under 250 ms, in real time with the engine's own scheduler; and exllamav2 for 1 to
64 sessions, paged against unpaged. Folders in EXL2 and GPTQ go through exllamav2's own loader and
were not tried, since that needs a GPU."""


class Pictures(Protocol):
    def add(self, name: str, svg: str, says: str) -> str:
        """Keep a plot; returns it as a Markdown image."""
        ...


def section(folder: Path, pictures: Pictures) -> str:
    """Every device that was measured; results of a CPU, and of quick runs, are not shown."""
    found = {path.stem: results.read(path) for path in sorted(folder.glob("gpu-*.json"))}
    shown = {name: result for name, result in found.items() if _is_measured(result["machine"])}
    if not shown:
        return NONE
    said = f"Measured by\n\n{COMMAND}"
    return "\n\n".join([said, *(_device(*one, pictures) for one in shown.items())])


def _is_measured(machine: dict[str, Any]) -> bool:
    return machine.get("type") == "cuda" and not machine["quick"]


def _device(name: str, result: dict[str, Any], pictures: Pictures) -> str:
    device = f"### {result['machine']['device']}"
    shown = [
        _part(title, result["parts"].get(part), show, f"{name}-{part}", pictures)
        for part, (title, show) in _PARTS.items()
    ]
    return "\n\n".join([device, *shown])


Show = Callable[[Part, str, Pictures], Iterator[str]]


def _part(title: str, part: Part | None, show: Show, name: str, pictures: Pictures) -> str:
    """A part that was not measured, or not to its end, says so."""
    said = [f"#### {title}"]
    if part is None:
        return f"{said[0]}\n\nNot measured on this device."
    if part["status"] != "measured":
        why = part.get("reason") or part.get("error") or "it did not end"
        said.append(f"**{part['status'].capitalize()}:** {why}")
    if part.get("rows"):
        said += [*filter(None, show(part, name, pictures)), _provenance(part["machine"])]
    return "\n\n".join(said)


def _provenance(machine: dict[str, Any]) -> str:
    versions = f"torch {machine['torch']}, CUDA {machine['cuda']}, triton {machine['triton']}"
    return (
        f"*{machine['date']}; {machine['device']}, {machine['memory_gb']:g} GB; "
        f"Python {machine['python']}, {versions}.*"
    )


# ---- the parts -----------------------------------------------------------------------------


def _capacity(part: Part, name: str, pictures: Pictures) -> Iterator[str]:
    target_ms, pattern = part["target_p95_ms"], part["pattern"]
    low, high = pattern["utterances_s"]
    for model, speakers in part.get("carried", {}).items():
        yield f"`{model}`: **{speakers} people at once** with p95 under {target_ms:g} ms."
    yield (
        f"Utterances of {low:g} to {high:g} s with pauses of {pattern['pauses_s'][0]:g} to "
        f"{pattern['pauses_s'][1]:g} s, a partial transcript asked for each "
        f"{pattern['partial_every_s']:g} s, in real time for {pattern['window_s']:g} s after "
        f"{pattern['warm_s']:g} s of warm-up; the engine's ASR lane, scheduler and backend; random "
        "weights and texts of forced lengths. Left out: sockets, VAD and the slots, and with these "
        "the guess at a pause that often is the final already."
    )
    rows = sorted(part["rows"], key=lambda row: (row["model"], row["speakers"]))
    head = ["model", "speakers", "finals", "p50 (ms)", "p95", "max", "partials per s of speech",
            "lane busy", "GPU busy", "carried"]  # fmt: skip
    yield markdown_table(head, [
        [row["model"], str(row["speakers"]), str(row["finals"]),
         *(cell(row, 0, key) for key in ("p50_ms", "p95_ms", "max_ms")),
         cell(row, 2, "partials_per_speech_s"), cell(row, 2, "lane_busy"),
         cell(row, 2, "gpu_busy"), "yes" if row["carried"] else "no"]
        for row in rows
    ])  # fmt: skip
    lines = _lines(rows, "speakers", "p95_ms", ("model",))
    about = Plot("p95, end of speech to final text", "ms", "speakers", target_ms)
    yield about.of(lines, name, pictures)


def _decoder(part: Part, name: str, pictures: Pictures) -> Iterator[str]:
    if "graphs" in part:
        yield f"CUDA graphs: {part['graphs']}."
    rows = part["rows"]
    ways = list(dict.fromkeys(row["variant"] for row in rows))
    yield (
        "Milliseconds of a step that feeds one token a row, by variant; then, of the last variant, "
        f"tokens a second, a step with openings, and one that verifies drafts of "
        f"{part['draft_tokens']} tokens."
    )
    cells = {(row["model"], row["batch"], row["variant"]): row for row in rows}
    head = ["model", "rows", *ways, "tokens/s", "opening (ms)", "draft (ms)"]
    more = ("tokens_per_s", 0), ("opening_ms", 2), ("draft_ms", 2)
    yield markdown_table(head, [
        [model, str(batch), *(_figures(cells.get((model, batch, way), {}), ("step_ms", 2))[0]
                              for way in ways),
         *(cell(cells.get((model, batch, ways[-1])), digits, key) for key, digits in more)]
        for model, batch in sorted({(row["model"], row["batch"]) for row in rows})
    ])  # fmt: skip
    shown = []
    for model in dict.fromkeys(row["model"] for row in rows):
        lines = _lines([row for row in rows if row["model"] == model], "batch", "step_ms",
                       ("variant",))  # fmt: skip
        about = Plot(f"A decoder step, {model}", "ms", "rows")
        shown.append(about.of(lines, f"{name}-{model}", pictures))
    yield " ".join(shown)


def _encoder(part: Part, name: str, pictures: Pictures) -> Iterator[str]:
    rows = part["rows"]
    head = ["model", "batch", f"ms for {part['context_s']} s of context", "segments/s"]
    yield markdown_table(head, [
        [row["model"], str(row["batch"]), *_figures(row, ("ms", 2), ("segments_per_s", 0))]
        for row in rows
    ])  # fmt: skip
    lines = _lines(rows, "batch", "segments_per_s", ("model",))
    yield Plot("Encoder", "segments/s", "segments in a batch").of(lines, name, pictures)


def _kernels(part: Part, name: str, pictures: Pictures) -> Iterator[str]:
    head = ["operation", "case", "µs by form", "Triton against the best other"]
    yield markdown_table(head, [
        [row["operation"], row["case"], _by_form(row, "us", 1), _against(row.get("us", {}))]
        for row in part["rows"]
    ])  # fmt: skip


def _vad(part: Part, name: str, pictures: Pictures) -> Iterator[str]:
    rows = part["rows"]
    yield markdown_table(
        ["slots", "ms by form, for 32 ms of audio"],
        [[f"{row['slots']:,}", _by_form(row, "ms", 3)] for row in rows],
    )
    forms = {form for row in rows for form in row.get("ms", {})}
    flat = [{"slots": row["slots"], "form": form, "took": row.get("ms", {}).get(form)}
            for form in sorted(forms) for row in rows]  # fmt: skip
    lines = _lines(flat, "slots", "took", ("form",))
    yield Plot("A VAD step", "ms", "slots").of(lines, name, pictures)


def _replies(part: Part, name: str, pictures: Pictures) -> Iterator[str]:
    if "backend" in part:
        yield f"`{part['backend']}`"
    for row in part["rows"]:
        if row.get("check"):
            yield f"Paged against unpaged: {_check(row)}"
    rows = [row for row in part["rows"] if "sessions" in row]
    head = ["sessions", "tokens/s together", "first token p50 (ms)", "max"]
    yield markdown_table(head, [
        [str(row["sessions"]), *_figures(row, ("tokens_per_s", 0), ("first_token_p50_ms", 0),
                                         ("first_token_max_ms", 0))]
        for row in rows
    ])  # fmt: skip
    lines = _lines(rows, "sessions", "tokens_per_s", ())
    yield Plot("Replies, all together", "tokens/s", "sessions").of(lines, name, pictures)


def _tests(part: Part, name: str, pictures: Pictures) -> Iterator[str]:
    head = ["suite", "passed", "failed", "broken", "skipped"]
    yield markdown_table(head, [
        [row["suite"], *_figures(row, ("passed", 0), ("failed", 0), ("broken", 0), ("skipped", 0))]
        for row in part["rows"]
    ])  # fmt: skip
    bad = [one for row in part["rows"] for one in row.get("failures", ())]
    if bad:
        yield "\n".join(f"- `{one['test']}`: {one['says']}" for one in bad[:20])


_PARTS: dict[str, tuple[str, Show]] = {
    "capacity": ("How many people at once", _capacity),
    "decoder": ("Whisper's decoder", _decoder),
    "encoder": ("Whisper's encoder", _encoder),
    "kernels": ("Kernels", _kernels),
    "vad": ("VAD", _vad),
    "replies": ("Replies by exllamav2", _replies),
    "tests": ("Tests that a GPU decides", _tests),
}


# ---- figures -------------------------------------------------------------------------------


def _figures(row: dict[str, Any], *columns: tuple[str, int]) -> list[str]:
    """A cell for each column; an error takes the place of the first."""
    cells = [cell(row, digits, key) for key, digits in columns]
    return [f"failed: {row['error']}", *cells[1:]] if "error" in row else cells


def _by_form(row: dict[str, Any], key: str, digits: int) -> str:
    """``torch 12.3, triton 4.5``, with what failed."""
    forms = [f"{form} {value:,.{digits}f}" for form, value in row.get(key, {}).items()]
    failed = [f"{form} failed: {why}" for form, why in row.get("errors", {}).items()]
    alone = [f"failed: {row['error']}"] if "error" in row else []
    return ", ".join(forms + failed + alone)


def _against(times_us: dict[str, float]) -> str:
    others = [value for form, value in times_us.items() if form != "triton"]
    if "triton" not in times_us or not others:
        return "—"
    return f"{min(others) / times_us['triton']:.2f} ×"


def _check(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"failed: {row['error']}"
    return (
        f"{row['equal']} of {row['prompts']} answers equal token for token "
        f"({row['tokens_before_a_difference']} of {row['tokens']} tokens before a difference), "
        f"with attention by {row['attention']}."
    )


@dataclass(frozen=True, slots=True)
class Plot:
    title: str
    unit: str
    below: str
    limit: float | None = None

    def of(self, lines: Sequence[plots.Line], name: str, pictures: Pictures) -> str:
        """The image; nothing where nothing was measured."""
        if not lines:
            return ""
        svg = plots.curve(lines, self.title, self.unit, below=self.below, limit=self.limit,
                          logarithmic=True)  # fmt: skip
        return pictures.add(name, svg, f"{self.title} ({self.unit}), by {self.below}")


def _lines(rows: Rows, x: str, y: str, by: Sequence[str]) -> list[plots.Line]:
    """A line for each value of ``by``, of the rows that have a figure, in order of ``x``."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(rows, key=lambda row: row[x]):
        if row.get(y) is not None:
            points.setdefault(", ".join(row[key] for key in by), []).append((row[x], row[y]))
    return [(name, [a for a, _ in of], [b for _, b in of]) for name, of in points.items()]
