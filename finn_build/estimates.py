"""What a design will take, before anything is synthesised: FINN's own estimates, and those of ops/.

FINN counts 0 LUTs for every `MVAU_rtl`, far from what they take for thresholds, and no FIFO, width converter or DMA.
"""

from dataclasses import asdict
from functools import partial
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_build.costs import Family, Resources
from finn_build.ops import image_last, op_of

RESOURCES = ("LUT", "BRAM_18K", "DSP", "URAM")


def estimate(model: ModelWrapper, *, part: str, clk_ns: float, input_beats: int) -> dict[str, Any]:
    """Return cycles per image, images/s, latency and resources, per layer and in total, as JSON-able numbers.

    Args:
        model: after folding.
        part: the device.
        clk_ns: clock period [ns].
        input_beats: beats per image of the input stream; no layer makes the design faster than that.
    """
    from finn.analysis.fpgadataflow.dataflow_performance import dataflow_performance
    from finn.analysis.fpgadataflow.exp_cycles_per_layer import exp_cycles_per_layer
    from finn.analysis.fpgadataflow.res_estimation import res_estimation
    from finn.transformation.fpgadataflow.annotate_cycles import AnnotateCycles

    cycles = model.analysis(exp_cycles_per_layer)
    resources = model.analysis(partial(res_estimation, fpgapart=part))
    performance = model.transform(AnnotateCycles()).analysis(dataflow_performance)
    interval = max(int(performance["max_cycles"]), input_beats)
    layers = [
        {
            "name": node.name,
            "cycles": int(cycles.get(node.name, 0)),
            **{name: float(resources.get(node.name, {}).get(name, 0)) for name in RESOURCES},
        }
        for node in model.graph.node
    ]
    return {
        "cycles_per_image": interval,
        "input_beats": input_beats,
        "latency_cycles": int(performance["critical_path_cycles"]),
        "images_per_s": 1e9 / (interval * clk_ns),
        "total": {name: sum(layer[name] for layer in layers) for name in RESOURCES},
        "layers": layers,
    }


def formulas(model: ModelWrapper, family: Family) -> dict[str, Any]:
    """Return what ops/ says of every node and in total, as JSON-able numbers: `lut`, `ff`, `bram18`, `dsp`.

    Args:
        model: with its width converters and FIFOs.
        family: device family.
    """
    nodes = list(model.graph.node)
    used = [*(op_of(node).node_cost(model, getCustomOp(node), family) for node in nodes), image_last.COST]
    names = [*((node.name, node.op_type) for node in nodes), (image_last.NAME, image_last.KIND)]
    return {
        "total": asdict(sum(used, Resources())),
        "layers": [{"name": name, "kind": kind, **asdict(u)} for (name, kind), u in zip(names, used, strict=True)],
    }
