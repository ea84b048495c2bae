"""Execute FINN's graphs of a fully connected network, whole batches at a time where the graph allows it."""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp


def is_hardware(node: Any) -> bool:
    """Tell whether `node` is one of FINN's hardware nodes."""
    return bool(node.domain.startswith("finn.custom_op.fpgadataflow"))


def hls_nodes(model: ModelWrapper) -> list[str]:
    """Return the names of the nodes that FINN implements in HLS. They can't be executed without Vitis."""
    return [node.name for node in model.graph.node if node.op_type.endswith("_hls")]


def execute(model: ModelWrapper, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Run `model` on images, in float32. Hardware graphs, whose nodes know their batch, run image by image.

    Args:
        model: a graph from (1, MW) pixels to (1, 1) logits, without HLS nodes.
        pixels: (N, height, width).

    Returns:
        (N,) logits as the graph gives them, not rounded.
    """
    from finn.core.onnx_exec import execute_onnx

    hardware = any(is_hardware(node) for node in model.graph.node)
    rows = 1 if hardware else len(pixels)
    model = in_python(copy.deepcopy(model)) if hardware else _with_batch(model, rows)
    name_in, name_out = model.graph.input[0].name, model.graph.output[0].name
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    logits = [execute_onnx(model, {name_in: flat[i : i + rows]})[name_out] for i in range(0, len(flat), rows)]
    return np.concatenate(logits)[:, 0].astype(np.float64)


def in_python(model: ModelWrapper) -> ModelWrapper:
    """Set every RTL node of `model` to be executed by FINN's Python model of it; return `model`."""
    for node in model.graph.node:
        if node.op_type.endswith("_rtl"):
            getCustomOp(node).set_nodeattr("exec_mode", "cppsim")
    return model


def _with_batch(model: ModelWrapper, rows: int) -> ModelWrapper:
    """Return a copy whose activations have `rows` rows instead of 1."""
    model = copy.deepcopy(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and len(dims) == 2 and dims[0].dim_value == 1:
            dims[0].dim_value = rows
    return model
