"""Plots as SVG that stands in a page, takes its text colour from it, and loads nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

_FONT = "DejaVu Sans"
"""Comes with matplotlib; a page shows its own font instead, which is about as wide."""
_INK = "#010203"
"""Stands for the page's text colour, and is replaced by it."""
BLUE, ORANGE, GREEN, RED, GREY = "#3b7dd8", "#e08a1e", "#2f9e66", "#d1495b", "#8b94a3"
COLOURS = (BLUE, ORANGE, GREEN, RED, "#8a63c7", "#19a3b5", GREY)
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "antiphon",
    "font.family": "sans-serif",
    "font.sans-serif": [_FONT],
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": GREY,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
_LINES_BESIDE_A_LEGEND = 4
_LEGEND_LINE = 0.2  # inches
Line = tuple[str, Sequence[float], Sequence[float]]
"""A name, x and y."""


def curve(
    lines: Sequence[Line],
    title: str,
    unit: str,
    *,
    below: str = "sessions",
    limit: float | None = None,
    logarithmic: bool = False,
    dashed: Sequence[str] = (),
) -> str:
    """Lines against the number of sessions, or of what ``below`` says; a dotted ``limit`` is the
    target."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(title, unit, below)
        for colour, (name, x, y) in zip(COLOURS * 2, lines, strict=False):
            style = "--" if name in dashed else "-"
            axes.plot(x, y, style, marker="o", markersize=4, color=colour, label=name)
        if limit is not None:
            axes.axhline(limit, color=RED, linestyle=":", linewidth=1.2)
            axes.annotate("target", (1.0, limit), xycoords=("axes fraction", "data"), color=RED,
                          ha="right", va="bottom", fontsize=9)  # fmt: skip
        counts = sorted({value for _, x, _ in lines for value in x})
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, _labels(counts), minor=False)
        axes.minorticks_off()
        _scale(axes, logarithmic)
        if len(lines) > _LINES_BESIDE_A_LEGEND:
            figure.set_figheight(figure.get_figheight() + _LEGEND_LINE * len(lines))
            figure.legend(fontsize=9, loc="outside lower center")
        elif len(lines) > 1:
            axes.legend(fontsize=9)
        return _svg(figure)


def over_time(
    points: Sequence[Sequence[float]], target_s: float, measured: tuple[float, float]
) -> str:
    """Each turn's time to the final text, and the median and 95th percentile around it."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure("End of speech to final text", "s", "seconds into the run")
        at, latency = np.array([point[0] for point in points]), [point[1] for point in points]
        axes.scatter(at, latency, s=18, color=BLUE, alpha=0.6, linewidths=0, label="a turn")
        if len(points) >= 8:
            middle, p50, p95 = _windows(at, np.array(latency))
            axes.plot(middle, p50, color=ORANGE, label="p50 around it")
            axes.plot(middle, p95, color=RED, label="p95 around it")
        axes.axhline(target_s, color=RED, linestyle=":", linewidth=1.2)
        axes.set_xlim(*measured)
        axes.set_ylim(0, max(max(latency), target_s) * 1.2)
        axes.legend(fontsize=9, ncols=3, loc="upper left")
        return _svg(figure)


def machine_over_time(samples: Sequence[Sequence[float]], measured: tuple[float, float]) -> str:
    """Cores and memory that the server used."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure("Server: cores and memory", "cores", "seconds into the run")
        at = [one[0] for one in samples]
        axes.plot(at, [one[1] for one in samples], color=BLUE, label="cores")
        axes.set_ylim(bottom=0)
        axes.axvspan(*measured, color=GREY, alpha=0.10, linewidth=0)
        right = axes.twinx()
        right.plot(at, [one[2] for one in samples], color=ORANGE, label="memory")
        right.set_ylabel("MB")
        right.set_ylim(0, right.get_ylim()[1] * 1.1)
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        handles = [*axes.get_lines(), *right.get_lines()]
        figure.legend(handles, ["cores", "memory"], fontsize=9, ncols=2,
                      loc="outside upper right")  # fmt: skip
        return _svg(figure)


def batch_sizes(sizes: Mapping[str, Mapping[str, float]]) -> str:
    """For each stage, how its rows were spread over the sizes of batches."""
    with mpl.rc_context(_STYLE):
        stages = sorted(sizes)
        bounds = sorted({float(bound) for stage in stages for bound in sizes[stage]})
        figure, axes = _figure("Batch sizes", "share of batches", "rows in a batch, up to")
        width = 0.8 / max(len(stages), 1)
        for index, (stage, colour) in enumerate(zip(stages, COLOURS, strict=False)):
            counts = [sizes[stage].get(f"{bound:g}", 0.0) for bound in bounds]
            shares = np.array(counts) / sum(counts)
            place = np.arange(len(bounds)) + (index - (len(stages) - 1) / 2) * width
            axes.bar(place, shares, width * 0.92, color=colour, label=stage)
        axes.set_xticks(range(len(bounds)), [f"{bound:g}" for bound in bounds])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.set_ylim(0, 1.12)
        axes.legend(fontsize=9, ncols=3, loc="upper right")
        return _svg(figure)


def bars(values: Sequence[tuple[str, float]], title: str, unit: str) -> str:
    """A bar for each name, its value written above it."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(title, unit, "")
        drawn = axes.bar([name for name, _ in values], [value for _, value in values], 0.6,
                         color=BLUE)  # fmt: skip
        axes.bar_label(drawn, fmt="{:,.1f}", fontsize=9, padding=2)
        axes.set_ylim(0, max(value for _, value in values) * 1.15)
        return _svg(figure)


def _figure(
    title: str, unit: str, below: str, width: float = 5.0, height: float = 3.0
) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_ylabel(unit)
    axes.set_xlabel(below)
    axes.set_axisbelow(True)
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return figure, axes


def _labels(counts: Sequence[float]) -> list[str]:
    """A label for each count, empty where it would run into the one before it."""
    labels, last = [], 0.0
    for count in counts:
        room = count >= 1.3 * last
        labels.append(f"{count:g}" if room else "")
        last = count if room else last
    return labels


def _scale(axes: Axes, logarithmic: bool) -> None:
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_ylim(0, axes.get_ylim()[1] * 1.08)
        axes.yaxis.set_major_locator(MaxNLocator(6))


def _windows(at: Any, latency: Any) -> tuple[list[float], list[float], list[float]]:
    """Percentiles of the tenth of all turns around each of 40 moments."""
    count = max(5, len(at) // 10)
    middle, p50, p95 = [], [], []
    for moment in np.linspace(at.min(), at.max(), 40):
        near = np.argsort(np.abs(at - moment))[:count]
        middle.append(float(moment))
        p50.append(float(np.percentile(latency[near], 50)))
        p95.append(float(np.percentile(latency[near], 95)))
    return middle, p50, p95


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = text.replace(f"'{_FONT}'", "system-ui").replace("'sans-serif'", "sans-serif")
    return text.replace("<svg ", '<svg role="img" ', 1)


def standalone(svg: str, ink: str = "#24292f") -> str:
    """The same as a file of its own, where there is no page to take a colour from."""
    return svg.replace("currentColor", ink)
