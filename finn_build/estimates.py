"""What a design will take, before anything is synthesised: FINN's own estimates, and those of costs.py.

FINN counts 0 LUTs for every `MVAU_rtl`, far from what they take for thresholds, and no FIFO, width converter or DMA.
"""

from dataclasses import asdict
from functools import partial
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_build import costs
from finn_build.folding import Folding, cost
from finn_build.steps import layer_of

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


def formulas(model: ModelWrapper, family: costs.Family) -> dict[str, Any]:
    """Return what costs.py says of every node and in total, as JSON-able numbers: `lut`, `ff`, `bram18`, `dsp`.

    Args:
        model: with its width converters and FIFOs.
        family: device family.
    """
    used = [_cost(model, node, family) for node in model.graph.node] + [costs.IMAGE_LAST]
    names = [(node.name, node.op_type) for node in model.graph.node] + [("u_image_last", "image_last")]
    return {
        "total": asdict(sum(used, costs.Resources())),
        "layers": [{"name": name, "kind": kind, **asdict(u)} for (name, kind), u in zip(names, used, strict=True)],
    }


def _cost(model: ModelWrapper, node: Any, family: costs.Family) -> costs.Resources:
    inst = getCustomOp(node)
    if node.op_type == "StreamingFIFO_rtl":
        return costs.fifo(inst.get_nodeattr("depth"), inst.get_instream_width(), family)
    if node.op_type == "StreamingDataWidthConverter_rtl":
        return costs.width_converter(inst.get_instream_width(), inst.get_outstream_width(), family)
    pe = inst.get_nodeattr("PE")
    if node.op_type == "Thresholding_rtl":
        return cost(layer_of(model, node), Folding(pe), family)
    return cost(layer_of(model, node), Folding(pe, inst.get_nodeattr("SIMD"), inst.get_nodeattr("ram_style")), family)
