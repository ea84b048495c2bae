"""Figures of a sweep and sweep.html, which holds them: accuracy against bits and against hardware."""

import base64
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from contract.drawing import save_in_every_form
from contract.files import write_whole
from contract.manifest import DISCLAIMER
from cxrflow.formats import Figures
from cxrflow.report.page import render
from cxrflow.sweep.model import CostModel
from cxrflow.sweep.spec import Sweep, plain
from cxrflow.sweep.table import DAMAGED, kind
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
LABEL = 45  # letters beside an axis
MOST_LINES = 12  # with a legend
NAMED = "network."  # begins the fields that a network's name says
Points = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Results:
    """What a sweep has found."""

    rows: Points  # of all trials
    points: Points  # those that finished, one for all its seeds
    front: Points
    model: CostModel


def unfinished(sweep: Sweep, rows: Points) -> str:
    """Say how many of a sweep's trials have ended, and how to go on; nothing where all have.

    Rows of an earlier grid may lie in the folder, too; of a search any trial is one of those that it asks for.
    """
    ended = {row["run"] for row in rows if row["status"] in ENDED}
    if sweep.search is None:
        ended &= {f"{point.name}-seed{point.seed}" for point in sweep.points()}
    if len(ended) >= sweep.size:
        return ""
    return (
        f"{len(ended)} of {sweep.size:,} trials have ended: the front is that of those. `cxrflow sweep` with the "
        "sweep's file does the others"
    )


def figures(points: Points, front: Points, folder: Path) -> list[Path]:
    """Draw what the points allow as PNG, SVG and PDF in the new folder; return the PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [draw(folder / "pareto", lambda axes: _pareto(axes, points, front))]
    for what, field in BITS.items():  # a width per layer has no place on an axis
        if all(type(point["values"].get(field)) is int for point in points):
            drawn.append(draw(folder / f"auc-{what}", lambda axes, w=what: _bits(axes, points, w)))  # type: ignore[misc]
    drawn.append(draw(folder / "latency", lambda axes: _latency(axes, points)))
    return drawn


def draw(path: Path, plot: Any) -> Path:
    """Draw what `plot` does to axes as PNG, SVG and PDF, with the disclaimer; return the PNG file."""
    figure = Figure(figsize=(6.4, 4.4), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    plot(axes)
    axes.grid(alpha=0.3)
    for one in figure.axes:  # a colour bar is one, too
        one.set_ylabel(textwrap.fill(one.get_ylabel(), LABEL))
    figure.supxlabel(DISCLAIMER, fontsize=7, color="gray")
    return save_in_every_form(figure, path.with_suffix(".png"))


def _pareto(axes: Axes, points: Points, front: Points) -> None:
    """Validation AUC over LUT-equivalents, with the spread over seeds; what the model says is hollow."""
    for label, inside, group in (
        ("points, by the model", "white", [point for point in points if "yosys_lut" not in point]),
        ("points, by Yosys", None, [point for point in points if "yosys_lut" in point]),
    ):
        x, y, spread = _columns(group, "lut_equivalents", "monitor", "monitor_std")
        axes.errorbar(x, y, yerr=spread, fmt="o", ms=4, mfc=inside, capsize=2, color="tab:gray", label=label)
    for number, (alike, group) in enumerate(_by_kind(front).items()):
        x, y, spread = _columns(group, "lut_equivalents", "monitor", "monitor_std")
        label = f"front{alike and ' of ' + alike}, by Yosys"
        axes.errorbar(x, y, yerr=spread, fmt="o-", ms=5, capsize=2, color=f"C{number}", label=label)
    for number, point in enumerate(front):
        name, place = point["network"].rpartition(" ")[2], (point["lut_equivalents"], point["monitor"])
        aside = (-4, 5) if number % 2 else (4, -10)  # neighbours would write over each other
        axes.annotate(name, place, aside, textcoords="offset points", fontsize=7, ha="right" if number % 2 else "left")
    axes.set(xlabel="LUT-equivalents", ylabel=MONITOR)
    _by_factor(axes)
    axes.legend(loc="lower right")


def _by_kind(points: Points) -> dict[str, list[dict[str, Any]]]:
    """Return points that are compared with each other, by what they have in common; "" where all are."""
    kinds = [kind(point) for point in points]
    groups: dict[str, list[dict[str, Any]]] = {}
    for one, point in zip(kinds, points, strict=True):
        groups.setdefault(", ".join(one) if len(set(kinds)) > 1 else "", []).append(point)
    return groups


def _bits(axes: Axes, points: Points, what: str) -> None:
    """Validation AUC over the width of weights or activations, a line per value of the other fields that vary."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        groups.setdefault(_others(point, what), []).append(point)
    for value, group in sorted(groups.items()):
        ordered = sorted(group, key=lambda point: int(point["values"][BITS[what]]))
        x = [point["values"][BITS[what]] for point in ordered]
        y, spread = _columns(ordered, "monitor", "monitor_std")
        axes.errorbar(x, y, yerr=spread, marker="o", ms=4, capsize=2, label=value or None)
    axes.set(
        xlabel=f"width of the {what} [bit]", ylabel=MONITOR, xticks=sorted({p["values"][BITS[what]] for p in points})
    )
    if 1 < len(groups) <= MOST_LINES:
        axes.legend(fontsize=7)


def _others(point: dict[str, Any], what: str) -> str:
    """Return the values of all fields that vary but for the width of `what`."""
    words = {field: f"{name}: {{}} bit" for name, field in BITS.items()}
    fields = {field: value for field, value in point["values"].items() if field != BITS[what]}
    return ", ".join(
        words[field].format(plain(value)) if field in words and type(value) is int else f"{field}: {plain(value)}"
        for field, value in fields.items()
    )


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
    ordered = sorted(results.points, key=lambda point: -float(point["monitor"]))
    content = {
        "name": sweep.name,
        "counts": {status: sum(row["status"] == status for row in results.rows) for status in (*ENDED, DAMAGED)},
        "unfinished": unfinished(sweep, results.rows),
        "columns": shown,
        "front": cells(results.front, shown),
        "points": cells(ordered, shown),
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
    """Return the headings of the columns that any of the points has, by their names.

    What varies and is in no network's name has a column, too: a field, and the board.
    """
    fields = dict.fromkeys(field for point in points for field in point["values"] if not field.startswith(NAMED))
    varies = {"board": "board"} if len({point["board"] for point in points}) > 1 else {}
    network, *others = COLUMNS.items()
    found = {name: text for name, text in others if any(name in point for point in points)}
    return dict([network]) | varies | {field: field for field in fields} | found


def figure(point: dict[str, Any], column: str) -> Any:
    """Return what a point has in a column; None where it has nothing."""
    return point["values"].get(column, point.get(column))


def table(points: Points) -> Figures:
    """Return points as a table; for programs, with the name of each point's runs."""
    shown = columns(points)
    records = [
        {shown[name]: figure(point, name) for name in shown} | {"point": point["experiment"], "runs": point["runs"]}
        for point in points
    ]
    headings = list(shown.values())
    return Figures(headings, cells(points, shown), records, text=[headings[0]])


def cells(points: Points, shown: Iterable[str]) -> list[list[str]]:
    """Return a row of texts per point, for the columns `shown`."""
    return [[cell(figure(point, name)) for name in shown] for point in points]


def cell(value: Any) -> str:
    """Return a figure as people read it."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return plain(value) if isinstance(value, list | tuple | dict) else str(value)
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4f}" if 1e-2 <= abs(value) < 1 else f"{value:.4g}" if abs(value) < 1e-2 else f"{value:.1f}"
