"""The hardware graph, written straight from the integer network: FINN's nodes and ours, as `plan.py` has them.

Nothing is converted on the way, so nothing can round differently, and whoever can produce an `IntegerNetwork` gets
this hardware. Widths come from int64: FINN would compute them, and keep thresholds, in float32, which is exact up to
2**24 only.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper

from contract.network import IntegerNetwork, Product, Shape
from contract.requantization import Integers
from finn_build.ops import thresholding
from finn_build.ops.activation import constants
from finn_build.ops.op import DOMAIN
from finn_build.plan import Node as PlannedNode
from finn_build.plan import Sizes, input_type, integer_type, network_sizes, plan, signed_type, width

INPUT, OUTPUT = "global_in", "global_out"  # FINN's names of a graph's ends


def hardware_graph(network: IntegerNetwork) -> ModelWrapper:
    """Return the graph of `network`, from (1, pixels), or (1, H, W, C), to (1, K), unfolded: PE and SIMD are 1.

    Thresholds are int64 initializers; weights are float32, as FINN wants them.
    """
    fitted = _fitted(network)
    sizes, source = network_sizes(fitted), input_type(fitted)
    model = outline(sizes, source)
    nodes = iter(model.graph.node)
    ranges = fitted.input_ranges()
    for layer, planned, size, ends in zip(fitted.layers, plan(sizes, source), sizes, ranges, strict=True):
        for part in planned:
            node = next(nodes)
            if isinstance(layer, Product):
                _set_constants(model, node, part, layer, size, ends)
    return model


def _set_constants(
    model: ModelWrapper, node: Any, part: PlannedNode, layer: Product, size: Sizes, ends: tuple[int, int]
) -> None:
    """Give one of a layer's nodes what it has of the layer's constants: weights are (MW, MH), of the layer's order."""
    if part.weights:
        model.set_initializer(node.input[1], layer.weights.reshape(len(layer.weights), -1).T.astype(np.float32))
        model.set_tensor_datatype(node.input[1], DataType[size.weights])
    if part.fused:
        model.set_initializer(node.input[2], layer.thresholds)
        model.set_tensor_datatype(node.input[2], DataType[integer_type(size.sums[0], size.sums[1] + 1)])
    if part.kind == thresholding.OP.op_type:
        assert layer.thresholds is not None
        row = layer.one_row(*ends)
        _set_thresholds(model, node, layer.thresholds if row is None else row, size, part.source)
        if layer.requantization is not None:
            known = constants(layer.requantization)
            node.attribute.extend(helper.make_attribute(name, value) for name, value in known.items())


def outline(layers: Sequence[Sizes], source_type: str) -> ModelWrapper:
    """Return the graph of such layers, whose first reads `source_type`, without its constants."""
    nodes, types = [], {INPUT: source_type}
    shapes: dict[str, Shape] = {INPUT: (layers[0].mw,) if layers[0].kind == "dense" else layers[0].image}
    last = INPUT
    for sizes, planned in zip(layers, plan(layers, source_type), strict=True):
        for node in planned:
            source, last = last, f"{node.name}_out"
            shapes[last], types[last] = node.shape, node.result
            nodes.append(_written(node, sizes, source, last))
    nodes[-1].output[0] = OUTPUT
    shapes[OUTPUT], types[OUTPUT] = shapes.pop(last), types.pop(last)
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape]) for name, shape in shapes.items()
    }
    ends = [infos.pop(INPUT)], [infos.pop(OUTPUT)]
    graph = helper.make_graph(nodes, "hardware", *ends, value_info=list(infos.values()))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    model = ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=9))
    for name, datatype in types.items():
        model.set_tensor_datatype(name, DataType[datatype])
    return model


def _written(node: PlannedNode, sizes: Sizes, source: str, output: str) -> Any:
    if node.kind == thresholding.OP.op_type:
        return _thresholds(node, sizes, source, output)
    constants = [f"{node.name}_weights"] if node.weights else []
    constants += [f"{node.name}_thresholds"] if node.fused else []
    if node.attributes:
        return _node(node, [source, *constants], output, **node.attributes)
    return _node(
        node, [source, *constants], output, numInputVectors=[1, *node.places], MW=node.mw, MH=node.mh, PE=1, SIMD=1,
        weightDataType=node.weights, accDataType=node.accumulator, noActivation=int(not node.fused),
    )  # fmt: skip


def _thresholds(node: PlannedNode, sizes: Sizes, source: str, output: str) -> Any:
    assert sizes.bits is not None
    return _node(
        node, [source, f"{node.name}_thresholds"], output, numInputVectors=[1, *node.places], NumChannels=node.mh,
        PE=1, numSteps=2**sizes.bits - 1, weightDataType=node.source, ActVal=0,
    )  # fmt: skip


def _node(node: PlannedNode, inputs: list[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(
        node.kind, inputs, [output], name=node.name, domain=DOMAIN, backend="fpgadataflow", inputDataType=node.source,
        outputDataType=node.result, **attributes,
    )  # fmt: skip


def _fitted(network: IntegerNetwork) -> IntegerNetwork:
    """Return the same network; a threshold that all or no sums of its channel reach moves to the end of their range."""
    layers = []
    for layer, (low, high) in zip(network.layers, network.input_ranges(), strict=True):
        if isinstance(layer, Product) and layer.thresholds is not None:
            least, greatest = layer.accumulator_range(low, high)
            layer = replace(layer, thresholds=layer.thresholds.clip(least[:, None], greatest[:, None] + 1))
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def _set_thresholds(model: ModelWrapper, node: Any, thresholds: Integers, sizes: Sizes, sums: str) -> None:
    """Give a node of thresholds, which compares numbers of the type `sums`, its constants and their type.

    `thresholds` are (C, L), or (1, L) for all channels.
    """
    assert sizes.bits is not None
    rows, levels = thresholds.shape
    never = np.full((rows, 2**sizes.bits - 1 - levels), sizes.sums[1] + 1)  # levels that are missing
    thresholds = np.hstack([thresholds, never])
    datatype = DataType[_threshold_type(thresholds, sums)]
    model.set_initializer(node.input[1], thresholds)
    model.set_tensor_datatype(node.input[1], datatype)
    next(a for a in node.attribute if a.name == "weightDataType").s = datatype.name.encode()


def _threshold_type(thresholds: NDArray[np.int64], sums: str) -> str:
    """Return the type in which numbers of the type `sums` are compared with thresholds.

    finn-rtllib's thresholds saturate a number that is wider than they are: one below all of them must stay below.
    """
    low, high = int(thresholds.min()), int(thresholds.max())
    kind = integer_type if sums.startswith("U") else signed_type
    narrow = kind(low, high)
    return kind(low - 1, high) if width(narrow) < width(sums) else narrow
