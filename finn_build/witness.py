"""FINN's own way from QONNX to integers, as a second opinion on a network that came with its QONNX file.

FINN converts quantizers to thresholds and moves scales, biases and batch norms into them, in float32, where a threshold
of more than about 20 bits can be one off, and ties are rounded up. The hardware is not made of this graph: how many
images differ is counted, not required. But its weights are integers, so they must be those of the network.
"""

from pathlib import Path

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from contract.errors import MismatchError
from contract.network import IntegerNetwork


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
    products = model.get_nodes_by_op_type("MatMul")
    if len(products) != len(network.layers):
        raise MismatchError(
            f"model.onnx has {len(products)} matrix products, reference.npz {len(network.layers)}. "
            "Export the run again."
        )
    for i, (layer, product) in enumerate(zip(network.layers, products, strict=True)):
        if not np.array_equal(model.get_initializer(product.input[1]).T, layer.weights):
            raise MismatchError(f"layer {i}: the weights of model.onnx are not those of reference.npz. Export again.")
