"""Draw what is in a data set. Neither a file name nor a patient is in the figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contract.drawing import save_figure
from contract.manifest import DISCLAIMER
from contract.table import shown
from cxrflow.console import Console

if TYPE_CHECKING:
    from datasets.labels import LabelRules
    from datasets.survey import Survey
    from datasets.xray import Split, XrayData

SAMPLES = 8  # images of each class in the figure
_COLOURS = ("#2563a8", "#d9742b", "#3a8f5c", "#8b5fb0", "#b5433f", "#7a7a2e", "#3f9aa8", "#a8577f")
_MOST_ROWS = 8  # classes of which samples are shown


def survey_source(path: Path, rules: "LabelRules", console: Console) -> "Survey":
    """Read the headers of all files of a source; the arguments are those of `datasets.source.listed`."""
    from datasets.source import listed
    from datasets.survey import survey

    with listed(path, rules) as listing, console.progress("reading headers, image") as progress:
        return survey(listing, progress=progress)


def draw(path: Path, data: "XrayData", survey: "Survey | None", *, ending: str = ".png") -> Path:
    """Write a figure: samples of the classes, gray levels, mean brightness, and image sizes or class balance.

    `ending` is one of contract.drawing's.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    _draw_samples(above, data)
    gray, mean, last = below.subplots(1, 3)
    for label, name in enumerate(data.class_names):
        pixels = data.train.pixels[data.train.labels == label]
        style = {"color": _colour(label), "label": name, "histtype": "step", "density": True}
        counts = np.bincount(pixels.reshape(-1), minlength=256)
        gray.hist(np.arange(256), bins=64, range=(0, 256), weights=counts, **style)
        mean.hist(pixels.mean(axis=(1, 2)), bins=40, range=(0, 256), **style)
    gray.set(title="gray levels, training", xlabel="pixel", yticks=[])
    mean.set(title="mean brightness, training", xlabel="mean pixel", yticks=[])
    gray.legend(frameon=False, fontsize=8)
    if survey is not None and survey.sizes:
        last.scatter(*np.array(survey.sizes).T, s=4, alpha=0.3, color="#555")
        last.set(title="sizes as stored", xlabel="width [pixel]", ylabel="height [pixel]")
    else:
        _draw_balance(last, data)
    for axes in (gray, mean, last):
        axes.spines[["top", "right"]].set_visible(False)
    title = f"{shown(data.source)}, fingerprint {data.fingerprint[:12]}. {DISCLAIMER}"
    figure.suptitle(title, fontsize=8, parse_math=False)  # a name may have $ in it
    save_figure(figure, path, ending=ending)
    return path


def _draw_samples(figure: object, data: "XrayData") -> None:
    """Draw training images of the classes, evenly spaced through the set; of the first _MOST_ROWS classes."""
    shown_names = data.class_names[:_MOST_ROWS]
    grid = figure.subplots(len(shown_names), SAMPLES)  # type: ignore[attr-defined]
    for label, name in enumerate(shown_names):
        places = np.flatnonzero(data.train.labels == label)
        chosen = places[np.linspace(0, len(places) - 1, SAMPLES).astype(int)] if len(places) else []
        for axes in grid[label]:
            axes.set_axis_off()
        for axes, i in zip(grid[label], chosen, strict=False):
            axes.imshow(data.train.pixels[i], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        grid[label][0].set_title(name, fontsize=8, loc="left")


def _draw_balance(axes: object, data: "XrayData") -> None:
    splits = _splits(data)
    bottom = np.zeros(len(splits))
    for label, name in enumerate(data.class_names):
        counts = np.array([(split.labels == label).sum() for _, split in splits])
        axes.bar([n for n, _ in splits], counts, bottom=bottom, color=_colour(label), label=name)  # type: ignore[attr-defined]
        bottom += counts
    axes.set(title="images")  # type: ignore[attr-defined]


def _colour(label: int) -> str:
    return _COLOURS[label % len(_COLOURS)]


def _splits(data: "XrayData") -> Sequence[tuple[str, "Split"]]:
    return ("train", data.train), ("validation", data.val), ("test", data.test)
