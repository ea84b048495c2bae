"""Figures of a page: Matplotlib draws them as inline SVG, a style sheet gives them the colours of the theme."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image

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
            axes = figure.subplots()
            axes.set(xlabel=self.x_label, ylabel=self.y_label, xlim=self.x, ylim=self.y)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
            if self.diagonal:
                axes.plot([0, 1], [0, 1], color=_SOFT, linewidth=1, linestyle=":")
            for place, _ in self.marks:
                axes.axvline(place, color=_SOFT, linewidth=1, linestyle=":")
            for one in self.series:
                colour = _COLOURS[one.colour % SERIES]
                if one.radius is None:
                    axes.plot(one.x, one.y, color=colour, linewidth=2, linestyle="--" if "dashed" in one.style else "-")
                else:
                    axes.scatter(
                        one.x, one.y, (2 * one.radius) ** 2, color=colour, alpha=0.75, edgecolors=_PAPER, zorder=3
                    )
            stream = io.StringIO()
            figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        return self._in_a_page(stream.getvalue())

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
