"""Figures of a page: Matplotlib draws them as inline SVG, a style sheet gives them the colours of the theme."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from contract.drawing import save_figure
from contract.files import replacing
from contract.manifest import DISCLAIMER

VECTOR = (".svg", ".pdf")  # what a figure is written as, for papers
WIDTH, HEIGHT = 380, 290  # of a plot [SVG units, about a pixel]
SERIES = 6  # colours in the style sheet; more series begin again, dashed
# Colours that stand for the style sheet's: Matplotlib knows no variables.
_COLOURS = [f"#c0ffe{number}" for number in range(SERIES)]
_SOFT, _LINE, _PAPER = "#c0ffea", "#c0ffeb", "#c0ffec"
_THEME = {colour: f"var(--c{number})" for number, colour in enumerate(_COLOURS)}
_THEME |= {_SOFT: "var(--soft)", _LINE: "var(--line)", _PAPER: "var(--paper)"}
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.size": 12,
    "axes.edgecolor": _SOFT,
    "axes.labelcolor": _SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Series:
    """One line or set of dots of a plot."""

    label: str
    x: NDArray[np.float64]  # (N,)
    y: NDArray[np.float64]  # (N,)
    colour: int
    radius: NDArray[np.float64] | None = None  # (N,) of dots [SVG units]; None: a line

    @property
    def style(self) -> str:
        """Classes in the style sheet, of the legend."""
        return f"s{self.colour % SERIES}" + (" dashed" if self.colour // SERIES % 2 else "")


@dataclass
class Plot:
    """Two axes and what is drawn between them."""

    title: str
    x_label: str
    y_label: str
    x: tuple[float, float]
    y: tuple[float, float]
    diagonal: bool = False
    series: list[Series] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)  # x and text of vertical lines

    def line(self, label: str, x: Any, y: Any, colour: int) -> None:
        """Add a line through the points of two (N,) arrays."""
        self.series.append(Series(label, np.asarray(x, np.float64), np.asarray(y, np.float64), colour))

    def scatter(self, label: str, x: Any, y: Any, colour: int, radius: Any = 4.0) -> None:
        """Add dots at the points of two (N,) arrays; `radius` [SVG units] is a number or (N,)."""
        places = np.asarray(x, np.float64), np.asarray(y, np.float64)
        self.series.append(Series(label, *places, colour, np.broadcast_to(radius, places[0].shape)))

    @property
    def svg(self) -> Markup:
        """The plot without title and legend, as an element of a page."""
        # Names within the drawing are made from the salt: two drawings of a page must not share them.
        with mpl.rc_context({**_STYLE, "svg.hashsalt": self.title}):
            figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout="constrained")
            self._draw(figure.subplots(), _COLOURS, _SOFT, _PAPER)
            stream = io.StringIO()
            figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        return self._in_a_page(stream.getvalue())

    def save(self, folder: Path) -> list[Path]:
        """Write the plot with title, legend and disclaimer into a folder, as SVG and PDF; return the files."""
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        self._draw(axes, [f"C{number}" for number in range(SERIES)], "gray", "white")
        axes.set_title(self.title, parse_math=False)
        axes.grid(alpha=0.3)
        if any(one.label for one in self.series):
            for text in axes.legend(fontsize=8).get_texts():
                text.set_parse_math(False)  # a run's name may have $ in it
        for place, label in self.marks:
            axes.annotate(label, (place, self.y[1]), fontsize=7, va="top", rotation=90)
        figure.supxlabel(DISCLAIMER, fontsize=7, color="gray")
        stem = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        paths = [folder / f"{stem}{ending}" for ending in VECTOR]
        for path in paths:
            with replacing(path) as partial:
                save_figure(figure, partial, ending=path.suffix)
        return paths

    def _draw(self, axes: Any, colours: Sequence[str], soft: str, paper: str) -> None:
        """Draw onto axes: series in `colours`, lines that are none in `soft`, edges of dots in `paper`."""
        axes.set(xlabel=self.x_label, ylabel=self.y_label, xlim=self.x, ylim=self.y)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        if self.diagonal:
            axes.plot([0, 1], [0, 1], color=soft, linewidth=1, linestyle=":")
        for place, _ in self.marks:
            axes.axvline(place, color=soft, linewidth=1, linestyle=":")
        for one in self.series:
            look = {"color": colours[one.colour % SERIES], "label": one.label}
            if one.radius is None:
                axes.plot(one.x, one.y, linewidth=2, linestyle="--" if "dashed" in one.style else "-", **look)
            else:
                axes.scatter(one.x, one.y, (2 * one.radius) ** 2, alpha=0.75, edgecolors=paper, zorder=3, **look)

    def _in_a_page(self, drawn: str) -> Markup:
        """Return Matplotlib's file as an element: in the theme's colours, without names that the page has, too."""
        content = drawn[drawn.index(">", drawn.index("<svg")) + 1 :]
        content = re.sub(r'<g id="[^"]*"', "<g", re.sub(r"<style.*?</style>", "", content, count=1, flags=re.DOTALL))
        content = re.sub("#c0ffe[0-9a-c]", lambda found: _THEME[found[0]], content)
        says = ". ".join([f"{self.title}: {self.y_label} over {self.x_label}", *(one.label for one in self.series), ""])
        opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, says.strip())
        return opening + Markup(content)


def span(*values: Any, least: float = 1e-3) -> tuple[float, float]:
    """Return a range that holds all values with some air around them, at least `least` wide."""
    together = np.concatenate([np.ravel(v) for v in values])
    low, high = float(together.min()), float(together.max())
    air = max(0.06 * (high - low), least)
    return low - air, high + air


def png(pixels: NDArray[np.uint8]) -> str:
    """Return an (H, W) gray image as a data URI."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def evenly(places: NDArray[np.int64], count: int) -> Sequence[int]:
    """Return up to `count` of `places`, evenly spaced."""
    if not len(places):
        return []
    chosen = np.linspace(0, len(places) - 1, min(count, len(places))).astype(int)
    return [int(i) for i in places[chosen]]
