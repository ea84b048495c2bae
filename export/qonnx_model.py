"""The trained network as QONNX: UINT8 pixels in, no quantizer in front, one integer logit out.

Brevitas exports the graph. Before that, the last activation and the head get a scale of 1, so that the graph's output
is the integer logit itself; the scale that was taken off is a host-side number. The last activation's scale is a power
of two, so moving it into the batch norm is exact.
"""

import contextlib
import copy
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from brevitas.export import export_qonnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.general.intquant import int_quant
from qonnx.util.cleanup import cleanup_model

from contract.scratch import scratch
from export.integer_network import integer_weights
from qnn.network import PixelMLP, act_scale, activation, linear

OPSET = 18


class IntegerLogit(torch.nn.Module):
    """The network up to its integer logit: (N, H*W) -> (N, 1)."""

    def __init__(self, net: PixelMLP) -> None:
        """Take the layers of `net`, whose last activation and head have a scale of 1."""
        super().__init__()
        self.blocks, self.linear = net.blocks, net.head.linear

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H*W) -> (N, 1)."""
        x = pixels
        for block in self.blocks:
            x = block(x)
        return self.linear(x)  # type: ignore[no-any-return]


def integer_logit_network(net: PixelMLP) -> IntegerLogit:
    """Return a Brevitas network, (N, H*W) pixels -> (N, 1) integer logits, from one that `canonical` returned."""
    net = copy.deepcopy(net)
    weights, _ = integer_weights(net.head.linear)
    last = net.blocks[-1]
    bits = int(net.spec.act_bits_per_layer[-1])
    with torch.no_grad():
        last.norm.weight.div_(act_scale(bits))
        last.norm.bias.div_(act_scale(bits))
        last.act = activation(bits, unit_scale=True)
        net.head.linear = linear(weights.shape[1], 1, net.spec.weight_bits_per_layer[-1], unit_scale=True)
        net.head.linear.weight.copy_(torch.from_numpy(weights.astype(np.float32)))
    return IntegerLogit(net).eval()


def to_qonnx(net: PixelMLP, path: Path) -> None:
    """Write `net`, which `canonical` returned, to the file `path`."""
    network = integer_logit_network(net)
    example = torch.zeros(1, net.spec.height * net.spec.width)
    with scratch("export") as folder, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns about itself
        raw = str(folder / "raw.onnx")
        # torch's other exporter writes a bias-free QuantLinear as a Gemm that neither qonnx nor hls4ml can read.
        export_qonnx(network, args=example, export_path=raw, opset_version=OPSET, dynamo=False)
        model = cleanup_model(ModelWrapper(raw))
    model.set_tensor_datatype(model.graph.input[0].name, DataType["UINT8"])
    model.save(str(path))


def evaluate_qonnx(path: Path, pixels: NDArray[np.uint8], *, double: bool) -> NDArray[np.float64]:
    """Execute a QONNX file on images in float64 or float32.

    qonnx's own executor knows float32 only; this is the ONNX project's reference evaluator with qonnx's quantizer.

    Args:
        path: the file.
        pixels: (N, height, width).
        double: evaluate in float64.

    Returns:
        (N,) logits, not rounded.
    """
    model = ModelWrapper(str(path)).model
    if double:
        _make_double(model)
    session = ReferenceEvaluator(model, new_ops=[_Quant, _BipolarQuant])
    flat = pixels.reshape(len(pixels), -1).astype(np.float64 if double else np.float32)
    (logits,) = session.run(None, {model.graph.input[0].name: flat})
    return np.asarray(logits)[:, 0].astype(np.float64)


def _make_double(model: ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


class _Quant(OpRun):
    op_domain = "qonnx.custom_op.general"

    def _run(  # type: ignore[no-untyped-def]
        self, x, scale, zeropoint, bits, narrow=None, rounding_mode=None, signed=None
    ) -> tuple[Any]:
        mode = rounding_mode.decode() if isinstance(rounding_mode, bytes) else rounding_mode
        return (np.asarray(int_quant(x, scale, zeropoint, bits, signed, narrow, mode), dtype=x.dtype),)


class _BipolarQuant(OpRun):
    op_domain = "qonnx.custom_op.general"

    def _run(self, x, scale) -> tuple[Any]:  # type: ignore[no-untyped-def]
        return (np.where(x >= 0, scale, -scale).astype(x.dtype),)


_Quant.__name__, _BipolarQuant.__name__ = "Quant", "BipolarQuant"  # the evaluator finds operators by class name
