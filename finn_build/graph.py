"""Execute hardware graphs in Python, whole batches at a time."""

import copy
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

ROWS = 64  # images at a time, at most
MOST = 1 << 23  # numbers at a time: each is compared with every threshold of a layer at once


def is_hardware(node: Any) -> bool:
    """Tell whether `node` is one of FINN's hardware nodes."""
    return bool(node.domain.startswith("finn.custom_op.fpgadataflow"))


def execute(model: ModelWrapper, pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Run `model` on images.

    Args:
        model: a graph from one image to (1, K) results: a hardware graph, or another one, executed in float32.
        pixels: (N, ...) images.

    Returns:
        (N, K) results as the graph gives them, not rounded.
    """
    from finn.core.onnx_exec import execute_onnx

    if is_hardware(model.graph.node[-1]):
        rows = min(ROWS, max(1, MOST // max(map(_numbers, model.graph.node))))
        parts = [pixels[i : i + rows] for i in range(0, len(pixels), rows)]
        name = model.graph.node[-1].output[0]
        return np.concatenate([hardware_tensors(model, part)[name] for part in parts])
    model = _with_batch(model, len(pixels))
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    results = execute_onnx(model, {model.graph.input[0].name: flat})[model.graph.output[0].name]
    return np.asarray(results.astype(np.float64))


def _numbers(node: Any) -> int:
    """Return how many numbers there are at once where a node is executed on an image."""
    inst = getCustomOp(node)
    steps = inst.get_nodeattr("numSteps") if "numSteps" in inst.get_nodeattr_types() else 1
    return int(prod(inst.get_normal_output_shape())) * max(1, int(steps))


def hardware_tensors(model: ModelWrapper, pixels: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Return every tensor, (N, ...), of a hardware graph for (N, ...) images.

    FINN's Python models of its nodes compute in the type of what they are given. Here that is float64, in which every
    sum of a network is exact; FINN's own executor gives them float32, which is not beyond 2**24.
    """
    model = in_python(copy.deepcopy(model))
    context: dict[str, NDArray[Any]] = {
        tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer
    }
    context[model.graph.input[0].name] = pixels.astype(np.float64)
    for node in model.graph.node:
        inst, source, result = getCustomOp(node), node.input[0], node.output[0]
        (_, *taken), (_, *given) = inst.get_normal_input_shape(), inst.get_normal_output_shape()
        kept = context[source].reshape(-1, *taken)
        if inst.get_nodeattr_types().get("numInputVectors", [""])[0] == "ints":  # vectors, one after the other
            context[source] = kept.reshape(-1, taken[-1])
            inst.set_nodeattr("numInputVectors", [len(context[source])])
            context[result] = np.empty(inst.get_normal_output_shape())
        else:
            context[source], context[result] = kept, np.empty((len(pixels), *given))
        inst.execute_node(context, model.graph)
        context[source], context[result] = kept, context[result].reshape(-1, *given)
    return context


def in_python(model: ModelWrapper) -> ModelWrapper:
    """Set every RTL node of `model` to be executed by FINN's Python model of it; return `model`."""
    for node in model.graph.node:
        if node.op_type.endswith("_rtl"):
            getCustomOp(node).set_nodeattr("exec_mode", "cppsim")
    return model


def _with_batch(model: ModelWrapper, rows: int) -> ModelWrapper:
    """Return a copy whose activations have `rows` rows instead of 1."""
    model = copy.deepcopy(model)
    activations = {model.graph.input[0].name}
    for node in model.graph.node:
        if activations.intersection(node.input):
            activations.update(node.output)
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name in activations and len(dims) == 2 and dims[0].dim_value == 1:
            dims[0].dim_value = rows
    return model
