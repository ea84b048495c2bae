"""What the counters of a simulation say to a hardware engineer: rate, latency, who waits for whom, FIFOs too deep."""

from collections.abc import Sequence
from typing import Any

from finn_build.ops import op_of
from finn_build.ops.fifo import SMALLEST
from finn_build.ops.op import Node
from finn_build.records import Estimates
from finn_build.simulate import SimResult
from finn_build.stitch import Design


def measure(result: SimResult, design: Design, estimates: Estimates, *, clk_ns: float) -> dict[str, Any]:
    """Return what sim.json holds of one simulation."""
    layers: list[dict[str, Any]] = []
    for i, node in enumerate(design.nodes):
        if node.layer:
            waits_in = result.streams[i].starved / result.cycles
            waits_out = result.streams[i + 1].stalled / result.cycles
            layers.append(
                {
                    "name": node.name,
                    "estimated_cycles": node.cycles,
                    "waits_for_input": waits_in,
                    "waits_for_output": waits_out,
                }
            )
    fifos = [
        {"name": node.name, "depth": node.depth, "peak": peak}
        for node, peak in zip((node for node in design.nodes if node.fifo), result.fifo_peaks, strict=True)
    ]
    return {
        "clock_mhz": 1e3 / clk_ns,
        "cycles": result.cycles,
        "initiation_interval": result.initiation_interval,
        "estimated_interval": estimates.cycles_per_image,
        "images_per_s": 1e9 / (result.initiation_interval * clk_ns),
        "first_latency_cycles": result.first_latency,
        "first_latency_us": result.first_latency * clk_ns / 1e3,
        "latency_bound_cycles": estimates.latency_bound_cycles,
        "simulation_seconds": result.seconds,
        "simulated_cycles_per_s": result.cycles / result.seconds,
        "layers": layers,
        "slowest": slowest(design.nodes, estimates.cycles_per_image),
        "fifos": fifos,
        "timeline": [
            {"into": name, "images": images}
            for name, images in zip([*(node.name for node in design.nodes), "output"], result.timed, strict=True)
        ],
        "remarks": _remarks(result, estimates, fifos),
    }


def slowest(nodes: Sequence[Node], cycles_per_image: int) -> list[str]:
    """Return the names of the nodes that take all of the design's cycles per image: a faster design folds these.

    What counts is how long a node takes by itself. Its streams do not tell: a layer that computes is ready for the next
    image long before it needs it, and takes a burst of beats now and then; one that only passes beats on moves most.
    Width converters come after layers, since folding a layer makes other converters. None: a port takes longest.
    """
    taking = [node for node in nodes if node.cycles >= cycles_per_image and not node.fifo]
    return [node.name for node in taking if op_of(node).computes] or [node.name for node in taking]


def _remarks(result: SimResult, estimates: Estimates, fifos: list[dict[str, Any]]) -> list[str]:
    """Say what the depths of the FIFOs promised and the simulation did not show."""
    interval, estimated = result.initiation_interval, estimates.cycles_per_image
    remarks = [
        f"{fifo['name']} never held more than {fifo['peak']} of its {fifo['depth']} beats: too deep for these images"
        for fifo in fifos
        if SMALLEST < fifo["depth"] > fifo["peak"]
    ]
    if interval > estimated:
        remarks.append(
            f"an image takes {interval:.2f} cycles, but the slowest part of the design {estimated}: it waits for a "
            "FIFO that is too shallow or for another layer"
        )
    bound = estimates.latency_bound_cycles
    if bound is not None and result.first_latency > bound:
        remarks.append(f"the first logit took {result.first_latency} cycles, more than the bound of {bound}")
    return remarks
