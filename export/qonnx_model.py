"""The trained network as QONNX: UINT8 pixels in, no quantizer in front, K integer logits out.

Brevitas exports the graph. Before that, the last activation and the head get a scale of 1, so that the graph's outputs
are the integer logits themselves; the scale that was taken off is a host-side number. The last activation's scale is a
power of two, so moving it into the batch norm is exact.
"""

import contextlib
import copy
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from brevitas.export import export_qonnx
from numpy.typing import NDArray
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.cleanup import cleanup_model

from contract.scratch import scratch
from export.foreign.execute import BipolarQuant, Quant, set_floats
from export.integer_network import integer_weights
from qnn.network import PixelMLP, act_scale, activation, features, linear

OPSET = 18


class IntegerLogit(torch.nn.Module):
    """The network up to its integer logits: (N, H*W) -> (N, K)."""

    def __init__(self, net: PixelMLP) -> None:
        """Take the layers of `net`, whose last activation and head have a scale of 1."""
        super().__init__()
        self.spec, self.blocks, self.linear = net.spec, net.blocks, net.head.linear

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H*W) -> (N, K)."""
        return self.linear(features(self.spec, self.blocks, pixels))  # type: ignore[no-any-return]


def integer_logit_network(net: PixelMLP) -> IntegerLogit:
    """Return a Brevitas network, (N, H*W) pixels -> (N, K) integer logits, from one that `canonical` returned."""
    net = copy.deepcopy(net)
    weights, _ = integer_weights(net.head.linear)
    last = net.blocks[-1]
    bits = int(net.spec.act_bits_per_layer[-1])
    with torch.no_grad():
        last.norm.weight.div_(act_scale(bits))
        last.norm.bias.div_(act_scale(bits))
        last.act = activation(bits, unit_scale=True)
        net.head.linear = linear(weights.shape[1], len(weights), net.spec.weight_bits_per_layer[-1], unit_scale=True)
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
        (N, K) logits, not rounded.
    """
    model = ModelWrapper(str(path)).model
    if double:
        set_floats(model, TensorProto.DOUBLE)
    session = ReferenceEvaluator(model, new_ops=[Quant, BipolarQuant])
    flat = pixels.reshape(len(pixels), -1).astype(np.float64 if double else np.float32)
    (logits,) = session.run(None, {model.graph.input[0].name: flat})
    return np.asarray(logits, dtype=np.float64)
