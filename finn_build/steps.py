"""The steps from QONNX to RTL: FINN's own where FINN has one, ours where it has none.

Every step is `(model, context) -> model`. The loop in `build.py` saves each result, executes it and compares; no step
can forget that.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from contract.errors import ConfigError, MismatchError
from contract.network import IntegerNetwork
from finn_build.boards import BOARDS
from finn_build.config import BuildConfig


@dataclass(frozen=True)
class Context:
    """What steps read besides the model."""

    config: BuildConfig
    network: IntegerNetwork  # the exact integers that the hardware must compute
    work: Path  # scratch folder for FINN's own files


Step = Callable[[ModelWrapper, Context], ModelWrapper]


def _finn(name: str, model: ModelWrapper, context: Context) -> ModelWrapper:
    """Run FINN's build step `step_<name>`."""
    from finn.builder import build_dataflow_steps as finn_steps

    return getattr(finn_steps, f"step_{name}")(model, _finn_config(context))


def _finn_config(context: Context) -> Any:
    from finn.builder.build_dataflow_config import DataflowBuildConfig

    board = BOARDS[context.config.board]
    (context.work / "report").mkdir(parents=True, exist_ok=True)
    return DataflowBuildConfig(
        output_dir=str(context.work),
        synth_clk_period_ns=context.config.clk_ns,
        generate_outputs=[],
        board=board.finn_name,
        fpga_part=board.part,
        target_fps=context.config.target_fps,
        folding_config_file=None if context.config.folding is None else str(context.config.folding),
        standalone_thresholds=True,  # MVAU_rtl has no thresholds of its own; fused ones would mean HLS
        save_intermediate_models=False,
        # FINN's default of 36 bits stops an 8-bit layer at SIMD 4. A 64-bit word per PE is one BRAM36.
        mvau_wwidth_max=64,
    )


def qonnx_to_finn(model: ModelWrapper, context: Context) -> ModelWrapper:
    """Quant nodes become MultiThreshold nodes and integer weights."""
    return _finn("tidy_up", _finn("qonnx_to_finn", model, context), context)


def streamline(model: ModelWrapper, context: Context) -> ModelWrapper:
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


def pin_thresholds(model: ModelWrapper, context: Context) -> ModelWrapper:
    """Replace FINN's thresholds, which it computes in float32, by the exact integers.

    A threshold of more than about 20 bits can be one off after float32 arithmetic. The weights must already be equal.
    """
    products = model.get_nodes_by_op_type("MatMul")
    activations = model.get_nodes_by_op_type("MultiThreshold")
    layers = context.network.layers
    if len(products) != len(layers) or len(activations) != len(layers) - 1:
        raise MismatchError(
            f"after streamlining the graph has {len(products)} matrix products and {len(activations)} activations, "
            f"expected {len(layers)} and {len(layers) - 1}: {', '.join(n.op_type for n in model.graph.node)}. "
            "Export the run again."
        )
    for i, (layer, product) in enumerate(zip(layers, products, strict=True)):
        zeros = int((layer.weights == 0).sum())
        if zeros and model.get_tensor_datatype(product.input[1]).name == "BIPOLAR":
            raise ConfigError(
                f"layer {i} ({product.name}) has 1-bit weights, but {zeros} of them are 0, as padding would make them; "
                "legal are -1 and +1. Leave the padding out, or give the layer 2-bit weights."
            )
        if not np.array_equal(model.get_initializer(product.input[1]).T, layer.weights):
            raise MismatchError(f"layer {i}: FINN's weights are not the exported integers. Export the run again.")
        if layer.thresholds is not None:
            _pin(model, activations[i], _float32_thresholds(context, i))
    return model


def _float32_thresholds(context: Context, i: int) -> NDArray[np.int64]:
    """Return layer i's thresholds as numbers that float32, in which FINN keeps them, holds exactly.

    Beyond 2**24 it holds even numbers only. A threshold that every or no accumulator reaches moves outwards.

    Raises:
        ConfigError: a threshold between these would move.
    """
    layer, (low, high) = context.network.layers[i], context.network.input_ranges()[i]
    assert layer.thresholds is not None
    exact = layer.thresholds
    least, greatest = (v[:, None] for v in layer.accumulator_range(low, high))
    stored = exact.astype(np.float32)
    always, never = exact <= least, exact > greatest
    stored = np.where(always & (stored > exact), np.nextafter(stored, np.float32(-np.inf)), stored)
    stored = np.where(never & (stored < exact), np.nextafter(stored, np.float32(np.inf)), stored)
    moved = exact[(stored != exact) & ~always & ~never]
    if moved.size:
        raise ConfigError(
            f"layer {i} has the threshold {moved[0]}, but FINN keeps thresholds in float32, which is exact up to "
            f"{2**24}. Use a smaller image, fewer weight bits or smaller layers."
        )
    return stored.astype(np.int64)


def _pin(model: ModelWrapper, node: Any, exact: NDArray[np.int64]) -> None:
    approximate = model.get_initializer(node.input[1])
    if approximate.shape != exact.shape:
        raise MismatchError(
            f"{node.name} has thresholds {approximate.shape}, the export has {exact.shape}. Export the run again."
        )
    model.set_initializer(node.input[1], exact.astype(np.float32))
    model.set_tensor_datatype(
        node.input[1], DataType.get_smallest_possible(min(int(exact.min()), -int(exact.max()) - 1))
    )


def convert_to_hw(model: ModelWrapper, context: Context) -> ModelWrapper:
    """Matrix products and thresholds become FINN's hardware nodes, or ours where FINN has no RTL."""
    from finn_build.lut_mvau import replace_one_bit_mvau

    for node in model.get_nodes_by_op_type("MultiThreshold"):
        activation = getCustomOp(node)
        if activation.get_nodeattr("out_dtype") == "BIPOLAR":
            # FINN's hardware node counts the threshold and takes the bit for -1 or +1: no scale, no bias.
            activation.set_nodeattr("out_scale", 1.0)
            activation.set_nodeattr("out_bias", 0.0)
    return replace_one_bit_mvau(_finn("convert_to_hw", model, context))


def create_dataflow_partition(model: ModelWrapper, context: Context) -> ModelWrapper:
    """The hardware nodes become a graph of their own; nothing may be left outside."""
    outside = [n.name for n in model.graph.node if not n.domain.startswith("finn.custom_op.fpgadataflow")]
    if outside:
        raise ConfigError(
            f"FINN has no hardware for {', '.join(outside)}. Supported are fully connected layers with batch norm and "
            "quantized ReLU or sign; change the network and export it again."
        )
    return _finn("create_dataflow_partition", model, context)


def specialize_layers(model: ModelWrapper, context: Context) -> ModelWrapper:
    """Each of FINN's nodes gets its RTL implementation.

    Left alone, FINN takes its RTL matrix-vector unit from 4 bits on only, though it works from 2.
    """
    for node in model.get_nodes_by_op_type("MVAU"):
        getCustomOp(node).set_nodeattr("preferred_impl_style", "rtl")
    return _finn("specialize_layers", model, context)


def fold(model: ModelWrapper, context: Context) -> ModelWrapper:
    """Set PE and SIMD, from the wanted frame rate or from the user's file."""
    folding = context.config.folding
    if folding is not None:
        _check_folding(model, folding)
    model = _finn("apply_folding_config", _search_folding(model, context), context)
    first = getCustomOp(model.graph.node[0])
    legal = _legal_input_simd(first, BOARDS[context.config.board].dma_bits)
    if folding is None:
        _narrow_input(first, legal)
    elif first.get_nodeattr("SIMD") not in legal:
        raise ConfigError(
            f"folding file {folding}: {model.graph.node[0].name} has SIMD {first.get_nodeattr('SIMD')}, but the input "
            f"comes from a DMA, whose streams have 8, 16, 32, ... bits and on {context.config.board} at most "
            f"{BOARDS[context.config.board].dma_bits}; legal are {', '.join(map(str, legal))}."
        )
    return model


def _search_folding(model: ModelWrapper, context: Context) -> ModelWrapper:
    """Let FINN search PE and SIMD for the frame rate. It knows its own types only, so ours take the name of one."""
    from finn_build.lut_mvau import OP_TYPE

    ours = [i for i, node in enumerate(model.graph.node) if node.op_type == OP_TYPE]
    for i in ours:
        model.graph.node[i].op_type = "MVAU_rtl"
    model = _finn("target_fps_parallelization", model, context)
    for i in ours:
        model.graph.node[i].op_type = OP_TYPE
    return model.transform(GiveUniqueNodeNames())


def _legal_input_simd(first: Any, dma_bits: int) -> list[int]:
    """Return the SIMDs of the first layer whose input stream a DMA can drive: powers of two, in bytes."""
    return [simd for simd in _divisors(first.get_nodeattr("MW")) if simd & (simd - 1) == 0 and 8 * simd <= dma_bits]


def _narrow_input(first: Any, legal: list[int]) -> None:
    """Trade SIMD for PE in the first layer until a DMA can feed it, keeping its cycles where PE allows it."""
    simd, pe, mh = (first.get_nodeattr(name) for name in ("SIMD", "PE", "MH"))
    if simd in legal:
        return
    narrow = max(s for s in legal if s <= simd)
    first.set_nodeattr("SIMD", narrow)
    first.set_nodeattr("PE", min((p for p in _divisors(mh) if p * narrow >= pe * simd), default=mh))


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def _check_folding(model: ModelWrapper, path: Path) -> None:
    """Refuse a folding file that FINN would half apply or fail on much later."""
    try:
        folding = json.loads(path.read_text(encoding="utf-8"))
        wanted = {name: dict(values) for name, values in folding.items()}
    except FileNotFoundError:
        raise ConfigError(f"folding file {path} is not there. Give an existing file or use target_fps.") from None
    except (OSError, ValueError, AttributeError, TypeError) as err:
        raise ConfigError(
            f"folding file {path} is not a JSON object of objects ({err}). See folding.json of a build."
        ) from err
    nodes = {n.name: getCustomOp(n) for n in model.graph.node}
    if wanted.pop("Defaults", {}):
        raise ConfigError(f"folding file {path} has Defaults, which do nothing here: give every layer its own values.")
    for name, values in wanted.items():
        if name not in nodes:
            raise ConfigError(f"folding file {path} names {name}, which is no layer; layers are {', '.join(nodes)}.")
        types = nodes[name].get_nodeattr_types()
        settable = [attribute for attribute in ("PE", "SIMD") if attribute in types]
        for attribute in values:
            if attribute not in settable:
                raise ConfigError(
                    f"folding file {path} sets {attribute} of {name}; settable are {' and '.join(settable)}."
                )
        for attribute, divides in (("PE", "MH" if "MH" in types else "NumChannels"), ("SIMD", "MW")):
            if attribute not in values:
                continue
            size = nodes[name].get_nodeattr(divides)
            legal = _divisors(size)
            if type(values[attribute]) is not int or values[attribute] not in legal:
                raise ConfigError(
                    f"folding file {path}: {name} has {attribute} {values[attribute]!r}, but it must divide "
                    f"{divides} = {size}; legal are {', '.join(map(str, legal))}."
                )


def minimize_bit_width(model: ModelWrapper, context: Context) -> ModelWrapper:
    """Accumulators, weights and thresholds get the narrowest types that hold their values, and keep their signs."""
    model = _finn("minimize_bit_width", model, context)
    # FINN's RTL reads every weight as signed; FINN calls weights that are never negative unsigned.
    for node in model.get_nodes_by_op_type("MVAU_rtl"):
        inst = getCustomOp(node)
        weights = inst.get_input_datatype(1)
        if not weights.signed():
            signed = DataType.get_smallest_possible(-int(weights.max()) - 1)
            inst.set_nodeattr("weightDataType", signed.name)
            model.set_tensor_datatype(node.input[1], signed)
    # The result stream extends the sign of the logit; one that can't be negative needs a sign bit first.
    head = model.graph.node[-1]
    logit = getCustomOp(head).get_output_datatype()
    if not logit.signed():
        wider = DataType[f"INT{logit.bitwidth() + 8}"]
        for attribute in ("outputDataType", "accDataType"):
            getCustomOp(head).set_nodeattr(attribute, wider.name)
        model.set_tensor_datatype(head.output[0], wider)
    return model


def insert_fifos(model: ModelWrapper, context: Context) -> ModelWrapper:
    """Width converters where two layers' streams differ, and a FIFO on every stream."""
    from finn.transformation.fpgadataflow.insert_dwc import InsertDWC
    from finn.transformation.fpgadataflow.insert_fifo import InsertFIFO
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers

    specialize = partial(SpecializeLayers, BOARDS[context.config.board].part)
    for transformation in (InsertDWC(), specialize(), InsertFIFO(create_shallow_fifos=True), specialize()):
        model = model.transform(transformation)
    return model.transform(GiveUniqueNodeNames())


def hw_codegen(model: ModelWrapper, context: Context) -> ModelWrapper:
    """FINN writes each node's Verilog wrapper and memory files."""
    return _finn("hw_codegen", model, context)


TO_ESTIMATES: tuple[Step, ...] = (
    qonnx_to_finn,
    streamline,
    pin_thresholds,
    convert_to_hw,
    create_dataflow_partition,
    specialize_layers,
    fold,
    minimize_bit_width,
)
BEFORE_PINNING = (qonnx_to_finn, streamline)
TO_RTL: tuple[Step, ...] = (insert_fifos, hw_codegen)
