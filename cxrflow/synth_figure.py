"""The figure of a synthesis: our formulas' estimate and the count of every node, side by side."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from contract.drawing import save_in_every_form
from finn_build.records import Estimates, Synthesis
from finn_build.resources import FORMULAS, TITLES, YOSYS, of_source, sourced

PANELS = ("lut", "bram18", "dsp")


def plot_synthesis(synthesis: Synthesis, estimates: Estimates, path: Path) -> None:
    """Draw Yosys' counts beside our formulas', as bars per node, into `path`, which ends in .png, and beside it."""
    known = sourced(estimates, synthesis)
    shown = [one for source in (YOSYS, FORMULAS) if (one := of_source(known, source)) is not None]
    nodes = list(shown[0].nodes)
    figure = Figure(figsize=(11, 0.35 * len(nodes) + 1.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(PANELS), sharey=True)
    places = range(len(nodes))
    for axis, resource in zip(axes, PANELS, strict=True):
        for number, one in enumerate(shown):
            amounts = [one.nodes.get(name, {}).get(resource, 0) for name in nodes]
            axis.barh([place - 0.2 + 0.4 * number for place in places], amounts, 0.4, label=one.source.name)
        axis.set_title(
            f"{TITLES[resource]}: " + ", ".join(f"{one.total[resource]:,} {one.source.name}" for one in shown)
        )
    axes[0].set_yticks(list(places), nodes)
    axes[0].invert_yaxis()
    axes[-1].legend()
    figure.suptitle(f"{synthesis.tool} {synthesis.version}, {synthesis.part}: {synthesis.kind}")
    save_in_every_form(figure, path)
