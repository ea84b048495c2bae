"""The figure of a synthesis: estimate and count of every node, side by side."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PANELS = {"lut": ("LUT", "lut"), "bram18": ("BRAM18", "bram18_equivalents"), "dsp": ("DSP", "dsp")}


def plot_synthesis(synth: dict[str, Any], path: Path) -> None:
    """Draw what synth.json holds, as bars per node, into the PNG file `path`."""
    layers = synth["layers"]
    figure = Figure(figsize=(11, 0.35 * len(layers) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(PANELS), sharey=True)
    places = range(len(layers))
    for axis, (key, (title, count)) in zip(axes, PANELS.items(), strict=True):
        measured = [layer[count] for layer in layers]
        estimated = [0 if layer["estimate"] is None else layer["estimate"][key] for layer in layers]
        axis.barh([i - 0.2 for i in places], measured, 0.4, label=synth["tool"])
        axis.barh([i + 0.2 for i in places], estimated, 0.4, label="estimate before any RTL")
        axis.set_title(f"{title}: {sum(measured):,}")
    axes[0].set_yticks(list(places), [layer["name"] for layer in layers])
    axes[0].invert_yaxis()
    axes[-1].legend()
    figure.suptitle(f"{synth['tool']} {synth['version']}, {synth['part']}: {synth['kind']}")
    figure.savefig(path, dpi=120)
