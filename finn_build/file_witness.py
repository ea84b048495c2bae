"""A file of somebody else's as qonnx executes it in float32, and as FINN converts it: counted, not required.

FINN makes thresholds of quantizers in float32 and rounds ties up, where Quant rounds them to even; then it moves scales
and biases into them. Inputs are counted by the first place at which a graph has another value than the file in
float64: what a layer reads, or the result. Nothing here is shared with what made the hardware's integers.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.qcdq_to_qonnx import QCDQToQuant
from qonnx.util.cleanup import cleanup_model

from contract.file_tensors import FileTensors
from contract.onnx_file import load_onnx
from finn_build import witness
from finn_build.chain import Chain

LEFT = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "QuantizeLinear", "DequantizeLinear")  # nothing of them may stay
ENDS = ("Softmax", "LogSoftmax", "Sigmoid", "TopK", "ArgMax")  # what is behind the result
CLOSE = 1e-4  # of a tensor's greatest value: float32's sums are closer, two levels of 8 bits are not
Array = NDArray[np.float64]


def hear(path: Path, tensors: FileTensors, chain: Chain, work: Path) -> None:
    """Count the inputs on which qonnx' execution of a file, FINN's conversion and streamlining differ, and where first.

    Args:
        path: the ONNX file.
        tensors: inputs and what the file makes of them.
        chain: is told.
        work: folder for FINN's own files.
    """
    file = load_onnx(path, advice="Import it again.")
    listeners: dict[str, _Graph] = {}

    def tidied() -> ModelWrapper:
        return cleanup_model(ModelWrapper(_single(file)))

    def convert() -> ModelWrapper:
        model = witness.qonnx_to_finn(tidied().transform(QCDQToQuant()), work)
        left = [node.op_type for node in model.graph.node if node.op_type in LEFT]
        if left:
            raise ValueError(f"it leaves {', '.join(dict.fromkeys(left))} as it is")
        return model

    def hear_one(stage: str, make: Callable[[], ModelWrapper], *, after: str = "") -> ModelWrapper | None:
        def places(model: ModelWrapper) -> NDArray[np.int64]:
            listeners[stage] = _Graph(model, tensors)
            return _first(listeners[stage].differing(tensors, listeners[after or stage]))

        return chain.opinion(stage, make, places, len(tensors.values))

    hear_one("qonnx_float32", tidied)
    converted = hear_one("qonnx_to_finn", convert)
    if converted is not None:
        hear_one("streamline", lambda: witness.streamline(copy.deepcopy(converted)), after="qonnx_to_finn")


def _single(file: ModelProto) -> ModelProto:
    """Return a file whose constants of float64, as QKeras' scales are, are of float32, which FINN needs."""
    model = copy.deepcopy(file)
    for value in model.graph.value_info:
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.DOUBLE:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    return model


def _first(differing: list[NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Return per input the first place of which it is told that it differs; -1: none."""
    told = np.stack(differing, axis=1)
    return np.where(told.any(axis=1), told.argmax(axis=1), -1)


class _Graph:
    """A graph as qonnx executes it: what its products read, its result, and the levels of its activations."""

    def __init__(self, model: ModelWrapper, tensors: FileTensors) -> None:
        """Execute it.

        Raises:
            ValueError: it has convolutions, or its products are not as many as the file's; and what qonnx raises.
        """
        if windows := sum(node.op_type in ("Conv", "Im2Col") for node in model.graph.node):
            raise ValueError(f"it has convolutions, {windows}, and only the values of dense layers are compared")
        constants = {tensor.name for tensor in model.graph.initializer}
        read: list[str] = []
        thresholds: list[tuple[int, Any]] = []  # place, node
        for node in model.graph.node:
            if constants.issuperset(node.input):
                constants.update(node.output)
            elif node.op_type in ("MatMul", "Gemm"):
                read += [name for name in node.input if name not in constants]
            elif node.op_type == "MultiThreshold":
                thresholds.append((len(read), node))
        if len(read) != len(tensors.values) - 1:
            raise ValueError(f"it has {len(read)} matrix products, the file {len(tensors.values) - 1}")
        ends = [node.input[0] for node in model.graph.node if node.op_type in ENDS]
        read.append(ends[0] if ends else model.graph.output[0].name)
        names = [*read, *(node.output[0] for _, node in thresholds)]
        found = _execute(model, tensors.fed, names)
        self.values = found[: len(read)]
        self.levels = [
            (place, _levels(node, value)) for (place, node), value in zip(thresholds, found[len(read) :], strict=True)
        ]

    def differing(self, tensors: FileTensors, converted: "_Graph") -> list[NDArray[np.bool_]]:
        """Return (N,) per place: whether it has other values than the file.

        The converted graph has the file's own values. Streamlined, scales are moved, so its levels are compared with
        the converted graph's: where that has the file's value it must have the same level, elsewhere another one.
        """
        same = [_same(value, want) for value, want in zip(converted.values, tensors.values, strict=True)]
        if converted is self:
            return [_any(~matrix) for matrix in same]
        told = [np.zeros(len(tensors.fed), dtype=bool) for _ in same]
        if [place for place, _ in self.levels] != [place for place, _ in converted.levels]:
            raise ValueError("it has other activations than before")
        for (place, mine), (_, other) in zip(self.levels, converted.levels, strict=True):
            right = same[place] if same[place].shape == mine.shape else ~_any(~same[place])[:, None]
            told[place] |= _any((mine == other) != right)
        told[-1] |= _any(~_same(self.values[-1], tensors.values[-1]))
        return told


def _any(matrix: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(matrix.any(axis=1))


def _same(value: Array, want: Array) -> NDArray[np.bool_]:
    if value.shape != want.shape:
        raise ValueError(f"it has a tensor of {value.shape[1]} values, the file of {want.shape[1]}")
    return np.asarray(np.abs(value - want) <= CLOSE * np.abs(want).max() + 1e-30)


def _levels(node: Any, value: Array) -> Array:
    """Return the levels that a MultiThreshold node reached."""
    inst = getCustomOp(node)
    return np.asarray(np.round((value - inst.get_nodeattr("out_bias")) / inst.get_nodeattr("out_scale")))


def _execute(model: ModelWrapper, fed: Array, names: list[str]) -> list[Array]:
    """Return the tensors of a graph, (N, E) each, for (N, M) inputs: all at once where it can be, else one by one."""
    source = model.graph.input[0].name
    shape = model.get_tensor_shape(source)

    def run(graph: ModelWrapper, inputs: Array, rows: int) -> list[Array]:
        x = inputs.reshape(rows * shape[0], *shape[1:]).astype(np.float32)
        context = execute_onnx(graph, {source: x}, return_full_exec_context=True)
        return [np.asarray(context[name], dtype=np.float64).reshape(rows, -1) for name in names]

    try:
        together = run(_of_rows(model, len(fed)), fed, len(fed))
        last = run(model, fed[-1:], 1)
        if all(_same(one[-1:], alone).all() for one, alone in zip(together, last, strict=True)):
            return together
    except Exception:  # of a graph that is of one input alone; of others it comes again
        pass
    rows = [run(model, one[None], 1) for one in fed]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _of_rows(model: ModelWrapper, rows: int) -> ModelWrapper:
    """Return a copy for so many inputs at once."""
    model = copy.deepcopy(model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name not in tensors and len(dims) > 1 and dims[0].dim_value == 1:
            dims[0].dim_value = rows
    for node in model.graph.node:
        if node.op_type == "Reshape" and node.input[1] in tensors:
            wanted = numpy_helper.to_array(tensors[node.input[1]]).copy()
            if wanted.size > 1 and wanted[0] == 1:
                wanted[0] = rows
                tensors[node.input[1]].CopyFrom(numpy_helper.from_array(wanted, node.input[1]))
    return model
