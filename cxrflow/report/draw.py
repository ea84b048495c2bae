"""Geometry of the figures: a template writes it as inline SVG, and a style sheet gives it the colours of the theme."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 380, 290  # of a plot [SVG units, about a pixel]
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 44  # margins of the axes
SERIES = 6  # colours in the style sheet; more series begin again, dashed


@dataclass(frozen=True)
class Series:
    """One line or set of dots of a plot."""

    label: str
    points: str = ""  # of an SVG polyline
    dots: tuple[tuple[float, float, float], ...] = ()  # x, y, radius
    colour: int = 0

    @property
    def style(self) -> str:
        """Classes in the style sheet."""
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
        self.series.append(Series(label, _polyline(self.px(np.asarray(x)), self.py(np.asarray(y))), colour=colour))

    def scatter(self, label: str, x: Any, y: Any, colour: int, radius: Any = 4.0) -> None:
        """Add dots at the points of two (N,) arrays; `radius` [SVG units] is a number or (N,)."""
        rows = np.broadcast_arrays(self.px(np.asarray(x)), self.py(np.asarray(y)), radius)
        dots = tuple(
            (round(float(a), 1), round(float(b), 1), round(float(r), 1)) for a, b, r in zip(*rows, strict=True)
        )
        self.series.append(Series(label, dots=dots, colour=colour))

    def px(self, x: Any) -> Any:
        """Where a value of the horizontal axis lies [SVG units]."""
        low, high = self.x
        return LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def py(self, y: Any) -> Any:
        """Where a value of the vertical axis lies [SVG units]."""
        low, high = self.y
        return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Places and texts along the horizontal axis."""
        return [(round(float(self.px(v)), 1), text) for v, text in ticks(*self.x)]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Places and texts along the vertical axis."""
        return [(round(float(self.py(v)), 1), text) for v, text in ticks(*self.y)]

    @property
    def box(self) -> dict[str, float]:
        """The rectangle between the axes."""
        return {"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM}


def ticks(low: float, high: float, *, most: int = 6) -> list[tuple[float, str]]:
    """Return at most `most` round values in low..high, low < high, and how they are written."""
    exponent = float(np.floor(np.log10((high - low) / most)))
    step = next(
        s * 10.0**e for e in (exponent, exponent + 1) for s in (1, 2, 5) if (high - low) / (s * 10.0**e) <= most - 1
    )
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    return [(i * step, f"{i * step:,.{digits}f}") for i in range(first, last + 1)]


def span(*values: Any, least: float = 1e-3) -> tuple[float, float]:
    """Return a range that holds all values with some air around them, at least `least` wide."""
    together = np.concatenate([np.ravel(v) for v in values])
    low, high = float(together.min()), float(together.max())
    air = max(0.06 * (high - low), least)
    return low - air, high + air


def _polyline(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Return points to a tenth of a unit, each once, without those on a straight run between two others."""
    kept: list[tuple[float, float]] = []
    for point in zip(np.round(x, 1).tolist(), np.round(y, 1).tolist(), strict=True):
        if kept and kept[-1] == point:
            continue
        if len(kept) > 1 and any(kept[-2][i] == kept[-1][i] == point[i] for i in (0, 1)):
            kept.pop()
        kept.append(point)
    return " ".join(f"{a:g},{b:g}" for a, b in kept)


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
