"""A file's own execution, in float64 or float32: the ONNX project's reference evaluator with qonnx's quantizers.

qonnx's own executor knows float32 only, and is slow. Nothing here is shared with what makes the integers.
"""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_batch_normalization import _batchnorm_test_mode
from onnx.reference.ops.op_dequantize_linear import DequantizeLinear_19
from onnx.reference.ops.op_quantize_linear import QuantizeLinear_19
from qonnx.custom_op.general.intquant import int_quant
from qonnx.custom_op.general.multithreshold import multithreshold
from qonnx.custom_op.general.trunc import trunc_v1, trunc_v2
from torch.nn import functional

from contract.errors import ConfigError
from contract.onnx_file import FLOATS

DOMAIN = "qonnx.custom_op.general"
OPERATORS = (
    "Quant",
    "IntQuant",
    "BipolarQuant",
    "MultiThreshold",
    "Trunc",
)  # those of that domain, by whatever name it goes


class Execution:
    """A file, ready to be executed on one input at a time, as it was made to be."""

    def __init__(self, model: ModelProto, *results: str, double: bool) -> None:
        """Prepare a checked model to give the tensors `results`, in float64 with `double`. Raises ConfigError."""
        self.results = results
        try:
            self._prepare(model, results, double=double)
        except Exception as err:  # the evaluator and its operators raise anything
            raise _unusable(err) from err

    def _prepare(self, model: ModelProto, results: tuple[str, ...], *, double: bool) -> None:
        copy = ModelProto()
        copy.CopyFrom(model)
        for node in copy.graph.node:
            node.domain = DOMAIN if node.op_type in OPERATORS else "" if node.domain == "ai.onnx" else node.domain
        for opset in copy.opset_import:
            opset.domain = "" if opset.domain == "ai.onnx" else opset.domain
        if DOMAIN not in {opset.domain for opset in copy.opset_import}:
            copy.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        del copy.graph.output[:], copy.graph.value_info[:], copy.graph.quantization_annotation[:]
        copy.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results)
        set_floats(copy, TensorProto.DOUBLE if double else TensorProto.FLOAT)
        _fold_constants(copy)
        self.model = copy  # all constants computed
        self._session = _session(copy)
        constants = {tensor.name for tensor in copy.graph.initializer}
        (source,) = (value for value in copy.graph.input if value.name not in constants)
        dims = source.type.tensor_type.shape.dim
        self.source, self._shape = source.name, tuple(dim.dim_value or 1 for dim in dims)
        self._dtype = helper.tensor_dtype_to_np_dtype(source.type.tensor_type.elem_type)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of the input and of each of the tensors. Raises ConfigError."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = self._run(np.zeros(self._shape))
        return {self.source: self._shape, **dict(zip(self.results, (np.shape(one) for one in found), strict=True))}

    def _run(self, one: NDArray[Any]) -> list[Any]:
        try:
            return self._session.run(None, {self.source: one.reshape(self._shape).astype(self._dtype)})  # type: ignore[no-any-return]
        except Exception as err:
            raise _unusable(err) from err

    def __call__(self, inputs: NDArray[Any]) -> list[NDArray[np.float64]]:
        """Return the tensors, each (N, elements), for inputs (N, ...). Raises ConfigError."""
        found = []
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for one in inputs:
                found.append([np.asarray(result, dtype=np.float64).ravel() for result in self._run(one)])
        return [np.stack(column) for column in zip(*found, strict=True)]


def _unusable(err: Exception) -> ConfigError:
    why = " ".join(str(err).split())[:200].rstrip(".") or type(err).__name__
    return ConfigError(
        f"ONNX' own reference evaluator cannot execute the file ({type(err).__name__}: {why}), expected a valid model. "
        "Export the network again."
    )


def set_floats(model: ModelProto, element: int) -> None:
    """Let a model compute in float64 or float32, `element`, whatever floats it has; constants keep their values.

    A constant that the file itself casts, to float32 for one, is still rounded so: that is its value.
    """
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        if value.type.tensor_type.elem_type in FLOATS:
            value.type.tensor_type.elem_type = element
    constants = {tensor.name for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        _set_floats(tensor, element)
    for node in model.graph.node:
        constant = all(name in constants or not name for name in node.input)
        constants.update(node.output if constant else ())
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _set_floats(attribute.t, element)
            elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                value = attribute.f if attribute.name == "value_float" else list(attribute.floats)
                tensor = numpy_helper.from_array(np.array(value, dtype=np.float32))
                _set_floats(tensor, element)
                attribute.CopyFrom(helper.make_attribute("value", tensor))
            elif node.op_type == "Cast" and attribute.name == "to" and not constant and attribute.i in FLOATS:
                attribute.i = element
        if node.op_type == "Cast" and constant:
            node.attribute.append(helper.make_attribute("computed", element))


def _set_floats(tensor: TensorProto, element: int) -> None:
    if tensor.data_type in FLOATS and tensor.data_type != element:
        array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(element))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _session(model: ModelProto) -> ReferenceEvaluator:
    return ReferenceEvaluator(model, new_ops=[Quant, IntQuant, BipolarQuant, MultiThreshold, Trunc, *_STANDARD])


def _fold_constants(model: ModelProto) -> None:
    """Compute what depends on no input once, and not for every input again."""
    constant = {tensor.name for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if all(name in constant or not name for name in node.input):
            nodes.append(node)
            constant.update(node.output)
    if not nodes:
        return
    read = {name for node in model.graph.node for name in node.input} | {v.name for v in model.graph.output}
    names = sorted({name for node in nodes for name in node.output if name in read})
    graph = helper.make_graph(
        nodes, "constants", [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        list(model.graph.initializer),
    )  # fmt: skip
    values = _session(helper.make_model(graph, opset_imports=model.opset_import)).run(None, {})
    gone = {id(node) for node in nodes}
    left = [node for node in model.graph.node if id(node) not in gone]
    kept = [node.SerializeToString() for node in left]
    del model.graph.node[:]
    for content in kept:
        model.graph.node.add().ParseFromString(content)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in zip(names, values, strict=True)
    )


def _mode(given: str | bytes) -> str:
    mode = given.decode() if isinstance(given, bytes) else given
    return "DOWN" if mode.upper() == "ROUND_TO_ZERO" else mode  # what Brevitas writes, and qonnx calls otherwise


class Quant(OpRun):
    """See qonnx."""

    op_domain = DOMAIN

    def _run(  # type: ignore[no-untyped-def]
        self, x, scale, zeropoint, bits, narrow=0, rounding_mode="ROUND", signed=1
    ) -> tuple[Any]:
        mode, result = _mode(rounding_mode or "ROUND"), np.empty(0)
        for width in np.unique(bits):  # qonnx knows one number of bits; where there are more, each element has its own
            found = np.asarray(int_quant(x, scale, zeropoint, width, signed, narrow or 0, mode), dtype=x.dtype)
            result = np.where(np.broadcast_to(bits == width, found.shape), found, result) if result.size else found
        return (result,)


class IntQuant(Quant):
    """Its later name."""


class BipolarQuant(OpRun):
    """See qonnx."""

    op_domain = DOMAIN

    def _run(self, x, scale) -> tuple[Any]:  # type: ignore[no-untyped-def]
        return (np.where(x >= 0, scale, -scale).astype(x.dtype),)


class Trunc(OpRun):
    """See qonnx: its version 1 has five inputs, version 2 a scale of the output more."""

    op_domain = DOMAIN

    def _run(  # type: ignore[no-untyped-def]
        self, x, scale, zero, bits, *result, rounding_mode="FLOOR", narrow=0, signed=1
    ) -> tuple[Any]:
        mode = _mode(rounding_mode or "FLOOR")
        if len(result) == 1:
            found = trunc_v1(x, scale, zero, bits, result[0], mode)
        else:
            found = trunc_v2(x, scale, zero, bits, narrow or 0, 1 if signed is None else signed, *result, mode)
        return (np.asarray(found, dtype=x.dtype),)


class MultiThreshold(OpRun):
    """See qonnx."""

    op_domain = DOMAIN

    def _run(  # type: ignore[no-untyped-def]
        self, x, thresholds, out_scale=1.0, out_bias=0.0, out_dtype=None, data_layout=None
    ) -> tuple[Any]:
        last = bool(data_layout) and str(data_layout).endswith("C") and len(str(data_layout)) > 2
        return (multithreshold(x, thresholds, out_scale, out_bias, last).astype(x.dtype),)


class DequantizeLinear(DequantizeLinear_19):
    """Of any opset: in those before 19 it is the same, and the evaluator lacks it."""

    op_domain = ""

    def _run(self, x, scale, zero_point=None, axis=1, **rest) -> tuple[Any]:  # type: ignore[no-untyped-def]
        (result,) = super()._run(x, scale, zero_point, 1 if axis is None else axis)
        return (result.astype(scale.dtype),)


class QuantizeLinear(QuantizeLinear_19):
    """Of any opset."""

    op_domain = ""

    def _run(self, x, scale, zero_point=None, axis=1, **rest) -> tuple[Any]:  # type: ignore[no-untyped-def]
        return super()._run(x, scale, zero_point, 1 if axis is None else axis)  # type: ignore[no-any-return]


class BatchNormalization(OpRun):
    """Of any opset, in inference: before 14 the evaluator takes a momentum for a training."""

    op_domain = ""

    def _run(self, x, scale, bias, mean, var, epsilon=1e-5, **rest) -> tuple[Any]:  # type: ignore[no-untyped-def]
        return (_batchnorm_test_mode(x, scale, bias, mean, var, 1e-5 if epsilon is None else epsilon),)


class Cast(OpRun):
    """Of any opset; of a constant to a float type the rounding only, where `computed` is what all floats became."""

    op_domain = ""

    def _run(self, x, to, computed=None, **rest) -> tuple[Any]:  # type: ignore[no-untyped-def]
        result = x.astype(helper.tensor_dtype_to_np_dtype(to))
        back = computed is not None and to in FLOATS
        return (result.astype(helper.tensor_dtype_to_np_dtype(computed)) if back else result,)


class Conv(OpRun):
    """Of any opset, by PyTorch: the evaluator's own takes seconds."""

    op_domain = ""

    def _run(self, x, w, bias=None, group=1, strides=None, pads=None, auto_pad=None, **rest) -> tuple[Any]:  # type: ignore[no-untyped-def]
        kernel = w.shape[2:]
        padded = _padded(x, kernel, strides, pads, auto_pad)
        images, weights = (torch.from_numpy(np.ascontiguousarray(one)) for one in (padded, w))
        added = None if bias is None else torch.from_numpy(np.ascontiguousarray(bias))
        return (functional.conv2d(images, weights, added, stride=_pair(strides), groups=group or 1).numpy(),)


class MaxPool(OpRun):
    """Of any opset, without padding."""

    op_domain = ""

    def _run(self, x, kernel_shape=None, strides=None, **rest) -> tuple[Any]:  # type: ignore[no-untyped-def]
        found = functional.max_pool2d(torch.from_numpy(np.ascontiguousarray(x)), _pair(kernel_shape), _pair(strides))
        return (found.numpy(),)


class AveragePool(OpRun):
    """Of any opset, without padding."""

    op_domain = ""

    def _run(self, x, kernel_shape=None, strides=None, **rest) -> tuple[Any]:  # type: ignore[no-untyped-def]
        found = functional.avg_pool2d(torch.from_numpy(np.ascontiguousarray(x)), _pair(kernel_shape), _pair(strides))
        return (found.numpy(),)


class GlobalAveragePool(OpRun):
    """Of any opset: a sum, and one division."""

    op_domain = ""

    def _run(self, x) -> tuple[Any]:  # type: ignore[no-untyped-def]
        return ((x.sum(axis=(2, 3), keepdims=True) / (x.shape[2] * x.shape[3])).astype(x.dtype),)


def _pair(numbers: Any) -> tuple[int, int]:
    down, right = (1, 1) if numbers is None else numbers
    return int(down), int(right)


def _padded(x: NDArray[Any], kernel: Any, strides: Any, pads: Any, way: Any) -> NDArray[Any]:
    """Return images (N, C, H, W) with what `pads`, or `auto_pad`, says around them."""
    if pads is None:
        pads = (0, 0, 0, 0)
    if way in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max(0, (-(-a // s) - 1) * s + k - a) for a, s, k in zip(x.shape[2:], _pair(strides), kernel, strict=True)
        ]
        before = [n // 2 if way == "SAME_UPPER" else n - n // 2 for n in total]
        pads = (*before, *(n - b for n, b in zip(total, before, strict=True)))
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))


_STANDARD = (
    AveragePool, BatchNormalization, Cast, Conv, DequantizeLinear, GlobalAveragePool, MaxPool, QuantizeLinear,
)  # fmt: skip
