"""FINN's own way from QONNX to integers, as a second opinion on a network that came with its QONNX file.

FINN converts quantizers to thresholds and moves scales, biases and batch norms into them, in float32, where a threshold
of more than about 20 bits can be one off, and ties are rounded up. The hardware is not made of this graph: how many
images differ is counted, not required. But its weights are integers, so they must be those of the network.
"""

from pathlib import Path
from typing import Any

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from contract.errors import ArtifactError, MismatchError
from contract.network import IntegerNetwork
from contract.onnx_file import load_onnx as load_model
from finn_build.chain import Chain

OPERATORS = {"BatchNormalization", "BipolarQuant", "MatMul", "Quant", "Relu"}  # all that export writes of dense layers
# What it writes beside them where there are convolutions.
IMAGES = {"Conv", "Div", "Flatten", "MaxPool", "Mul", "ReduceMean", "ReduceSum", "Reshape", "Sub", "Transpose"}
DOMAINS = ("", "qonnx.custom_op.general")  # qonnx imports any other as a module
# What may follow what on the way of the data; both ends of the graph are None.
NEXT: dict[str | None, tuple[str | None, ...]] = {
    None: ("MatMul",),
    "MatMul": ("BatchNormalization", None),
    "BatchNormalization": ("Relu", "BipolarQuant"),
    "Relu": ("Quant",),
    "Quant": ("MatMul",),
    "BipolarQuant": ("MatMul",),
}


def load_onnx(path: Path, *, dense: bool = True) -> ModelWrapper:
    """Read an ONNX file that our export wrote, trusting nothing; with convolutions, if not `dense`: ArtifactError."""
    legal = OPERATORS if dense else OPERATORS | IMAGES
    try:
        model = ModelWrapper(load_model(path, advice="Export the run again."))
        shapes = [model.get_tensor_shape(model.graph.input[0].name), model.get_tensor_shape(model.graph.output[0].name)]
        foreign = [
            f"{_name(node)} ({node.domain}{'.' if node.domain else ''}{node.op_type})"
            for node in model.graph.node
            if node.op_type not in legal or node.domain not in DOMAINS
        ]
    except ArtifactError:
        raise
    except Exception as err:  # qonnx raises many kinds for damaged graphs
        raise ArtifactError(f"{path} is not a whole ONNX model ({type(err).__name__}). Export the run again.") from err
    if len(model.graph.input) != 1 or len(model.graph.output) != 1 or not all(s and len(s) == 2 for s in shapes):
        raise ArtifactError(f"{path} has the shapes {shapes}, expected one (1, MW) input and one (1, 1) output.")
    if foreign:
        raise ArtifactError(
            f"{path} holds the operators {', '.join(foreign)}, but only {', '.join(sorted(legal))} can be built. "
            "Export the run again."
        )
    if dense:
        _require_layers(path, model)
    return model


def _name(node: Any) -> str:
    return str(node.name or node.output[0])


def _require_layers(path: Path, model: ModelWrapper) -> None:
    """Stop unless the data passes through whole layers, one after the other. Raises ArtifactError."""
    tensor, before = model.graph.input[0].name, None
    for _ in model.graph.node:
        readers = [node for node in model.graph.node if tensor in node.input]
        if not readers or len(readers) > 1 or readers[0].op_type not in NEXT[before]:
            break
        tensor, before = readers[0].output[0], readers[0].op_type
    readers = [node for node in model.graph.node if tensor in node.input]
    if readers or None not in NEXT[before] or tensor != model.graph.output[0].name:
        found = " and ".join(f"{_name(node)} ({node.op_type})" for node in readers) or "the end of the graph"
        legal = " or ".join(kind or "the end of the graph" for kind in NEXT[before])
        raise ArtifactError(
            f"{path}: {tensor} is followed by {found}, expected {legal}. A layer is MatMul, BatchNormalization and "
            "either Relu and Quant or BipolarQuant; the last one is a MatMul alone. Export the run again."
        )


def require_one_network(qonnx: ModelWrapper, network: IntegerNetwork) -> None:
    """Stop unless a file that `load_onnx` read and a network are of the same sizes.

    Raises:
        ArtifactError: they read different inputs.
        MismatchError: they have different numbers of layers.
    """
    pixels, products = qonnx.get_tensor_shape(qonnx.graph.input[0].name)[1], qonnx.get_nodes_by_op_type("MatMul")
    if pixels != network.input.size:
        raise ArtifactError(
            f"model.onnx is for {pixels} pixels, reference.npz for {network.input}. Export the run again."
        )
    if len(products) != len(network.dense):
        raise MismatchError(
            f"model.onnx has {len(products)} matrix products, reference.npz {len(network.dense)}. Export the run again."
        )


def leave_out(chain: Chain, work: Path) -> None:
    """Say that FINN's conversions of a network with convolutions are not executed: they take minutes, and HLS ops."""
    chain.silent("qonnx_to_finn", "FINN's conversion is executed for networks of dense layers only")


def hear(qonnx: ModelWrapper, network: IntegerNetwork, chain: Chain, work: Path) -> None:
    """Execute the QONNX graph in float32, and FINN's own conversions of it, and count the images that differ."""
    model = chain.witness("qonnx_float32", lambda: qonnx)
    if model is None:
        return
    converted = chain.witness("qonnx_to_finn", lambda: qonnx_to_finn(model, work))
    if converted is None:
        return
    streamlined = chain.witness("streamline", lambda: streamline(converted))
    if streamlined is not None:
        require_same_weights(streamlined, network)


def qonnx_to_finn(model: ModelWrapper, work: Path) -> ModelWrapper:
    """Quant nodes become MultiThreshold nodes and integer weights. `work` is a folder for FINN's own files."""
    from finn.builder import build_dataflow_steps as finn_steps
    from finn.builder.build_dataflow_config import DataflowBuildConfig

    config = DataflowBuildConfig(
        output_dir=str(work), synth_clk_period_ns=10.0, generate_outputs=[], save_intermediate_models=False
    )
    return finn_steps.step_tidy_up(finn_steps.step_qonnx_to_finn(model, config), config)


def streamline(model: ModelWrapper) -> ModelWrapper:
    """Scales, biases and batch norms move into the thresholds.

    As FINN's step of that name, without its rewrite of 1-bit products to popcounts: those need another multiplication
    and addition behind them and thresholds of their own. Our 1-bit layer computes the true sum.
    """
    from finn.transformation.streamline import Streamline, absorb
    from qonnx.transformation.general import RemoveUnusedTensors
    from qonnx.transformation.infer_data_layouts import InferDataLayouts

    for transformation in (
        absorb.AbsorbScalarBiasIntoMultiThreshold(),
        Streamline(),
        Streamline(),
        InferDataLayouts(),
        RemoveUnusedTensors(),
    ):
        model = model.transform(transformation)
    return model


def require_same_weights(model: ModelWrapper, network: IntegerNetwork) -> None:
    """Stop unless a streamlined graph multiplies with the network's weights. Raises MismatchError."""
    for i, (layer, product) in enumerate(zip(network.dense, model.get_nodes_by_op_type("MatMul"), strict=True)):
        if not np.array_equal(model.get_initializer(product.input[1]).T, layer.weights):
            raise MismatchError(f"layer {i}: the weights of model.onnx are not those of reference.npz. Export again.")
