"""Figures of a sweep and sweep.html, which holds them: accuracy against bits and against hardware."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from contract.files import write_whole
from contract.manifest import DISCLAIMER
from cxrflow.report.page import render
from cxrflow.sweep.model import CostModel
from cxrflow.sweep.spec import Sweep
from cxrflow.sweep.table import DAMAGED
from cxrflow.sweep.trial import ENDED

PAGE = "sweep.html"
MONITOR = "validation AUC, mean of clean and augmented (of K classes macro)"
BITS = {"weights": "network.weight_bits", "activations": "network.act_bits"}
COLUMNS = {
    "network": "network",
    "monitor": MONITOR,
    "monitor_std": "± over seeds",
    "images_per_s": "images/s (estimate)",
    "latency_us": "first logit [us] (bound)",
    "lut": "LUT (model)",
    "ff": "FF (model)",
    "bram18": "BRAM18 (model)",
    "dsp": "DSP (model)",
    "yosys_lut": "LUT (Yosys)",
    "yosys_ff": "FF (Yosys)",
    "yosys_bram18": "BRAM18 (Yosys)",
    "yosys_dsp": "DSP (Yosys)",
    "test_accuracy": "test accuracy",
    "test_auc": "test AUC (of K classes macro)",
}
Points = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Results:
    """What a sweep has found."""

    rows: Points  # of all trials
    points: Points  # those that finished, one for all its seeds
    front: Points
    model: CostModel


def figures(points: Points, front: Points, folder: Path) -> list[Path]:
    """Draw what the points allow as PNG and SVG in the new folder; return the PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_draw(folder / "pareto", lambda axes: _pareto(axes, points, front))]
    for what, field in BITS.items():
        if all(isinstance(point["values"].get(field), int) for point in points):
            drawn.append(_draw(folder / f"auc-{what}", lambda axes, w=what: _bits(axes, points, w)))  # type: ignore[misc]
    drawn.append(_draw(folder / "latency", lambda axes: _latency(axes, points)))
    return drawn


def _draw(path: Path, plot: Any) -> Path:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    plot(axes)
    axes.grid(alpha=0.3)
    figure.supxlabel(DISCLAIMER, fontsize=7, color="gray")
    figure.savefig(path.with_suffix(".svg"))
    figure.savefig(path.with_suffix(".png"), dpi=160)
    return path.with_suffix(".png")


def _pareto(axes: Axes, points: Points, front: Points) -> None:
    """Validation AUC over LUT-equivalents, with the spread over seeds; what the model says is hollow."""
    for label, inside, group in (
        ("points, by the model", "white", [point for point in points if "yosys_lut" not in point]),
        ("points, by Yosys", None, [point for point in points if "yosys_lut" in point]),
    ):
        x, y, spread = _columns(group, "lut_equivalents", "monitor", "monitor_std")
        axes.errorbar(x, y, yerr=spread, fmt="o", ms=4, mfc=inside, capsize=2, color="tab:gray", label=label)
    x, y, spread = _columns(front, "lut_equivalents", "monitor", "monitor_std")
    axes.errorbar(x, y, yerr=spread, fmt="o-", ms=5, capsize=2, color="tab:blue", label="front, by Yosys")
    for number, point in enumerate(front):
        name, place = point["network"].rpartition(" ")[2], (point["lut_equivalents"], point["monitor"])
        aside = (-4, 5) if number % 2 else (4, -10)  # neighbours would write over each other
        axes.annotate(name, place, aside, textcoords="offset points", fontsize=7, ha="right" if number % 2 else "left")
    axes.set(xlabel="LUT-equivalents", ylabel=MONITOR)
    _by_factor(axes)
    axes.legend(loc="lower right")


def _bits(axes: Axes, points: Points, what: str) -> None:
    """Validation AUC over the width of weights or activations, a line per width of the other."""
    other = next(name for name in BITS if name != what)
    groups: dict[Any, list[dict[str, Any]]] = {}
    for point in points:
        groups.setdefault(point["values"].get(BITS[other]), []).append(point)
    for value, group in sorted(groups.items(), key=lambda item: str(item[0])):
        ordered = sorted(group, key=lambda point: int(point["values"][BITS[what]]))
        x = [point["values"][BITS[what]] for point in ordered]
        y, spread = _columns(ordered, "monitor", "monitor_std")
        axes.errorbar(x, y, yerr=spread, marker="o", ms=4, capsize=2, label=f"{other}: {value} bit")
    axes.set(
        xlabel=f"width of the {what} [bit]", ylabel=MONITOR, xticks=sorted({p["values"][BITS[what]] for p in points})
    )
    axes.legend(fontsize=7)


def _latency(axes: Axes, points: Points) -> None:
    """Time to the first logit over LUTs; the colour is the AUC."""
    x, y, colour = _columns(points, "lut", "latency_us", "monitor")
    drawn = axes.scatter(x, y, c=colour, cmap="viridis")
    axes.set(xlabel="LUT (model)", ylabel="first logit after [us] (bound)")
    _by_factor(axes)
    axes.figure.colorbar(drawn, ax=axes, label=MONITOR)


def _by_factor(axes: Axes) -> None:
    """Make x logarithmic, with numbers that people read."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _columns(points: Points, *names: str) -> list[Any]:
    return [np.array([point.get(name, 0) for point in points], dtype=float) for name in names]


def write_page(sweep: Sweep, results: Results, pictures: Sequence[Path], folder: Path) -> Path:
    """Write sweep.html, one file with everything in it."""
    shown = columns(results.points)
    content = {
        "name": sweep.name,
        "counts": {status: sum(row["status"] == status for row in results.rows) for status in (*ENDED, DAMAGED)},
        "columns": shown,
        "front": [[cell(point.get(name)) for name in shown] for point in results.front],
        "points": [
            [cell(point.get(name)) for name in shown]
            for point in sorted(results.points, key=lambda point: -float(point["monitor"]))
        ],
        "failed": [(row["run"], row["error"]) for row in results.rows if row["status"] in ("failed", DAMAGED)],
        "model": results.model,
        "pictures": [
            (path.stem, base64.b64encode(path.read_bytes()).decode()) for path in pictures
        ],
    }  # fmt: skip
    path = folder / PAGE
    write_whole(path, render("sweep.html.j2", content))
    return path


def columns(points: Points) -> dict[str, str]:
    """Return the headings of the columns that any of the points has, by their names."""
    return {name: text for name, text in COLUMNS.items() if any(name in point for point in points)}


def cell(value: Any) -> str:
    """Return a figure as people read it."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.1f}"
