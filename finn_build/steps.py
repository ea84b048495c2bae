"""The steps from QONNX to RTL: FINN's own where FINN has one, ours where it has none.

Every step is `(model, context) -> model`. The loop in `build.py` saves each result, executes it and compares; no step
can forget that.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from contract.errors import ConfigError, MismatchError
from contract.network import IntegerNetwork
from finn_build.boards import BOARDS, Board
from finn_build.config import BuildConfig
from finn_build.fifos import LARGEST_IN_LUTS, fifo_depths, stages
from finn_build.folding import Budget, Layer, Problem, divisors, solve


@dataclass(frozen=True)
class Context:
    """What steps read besides the model."""

    config: BuildConfig
    network: IntegerNetwork  # the exact integers that the hardware must compute
    work: Path  # scratch folder for FINN's own files


FOLDED = ("PE", "SIMD", "ram_style", "resType")  # what a folding file may set, as far as a node has it
CHOICES = {"ram_style": ("auto", "block", "distributed"), "resType": ("auto", "dsp", "lut")}
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
        folding_config_file=None if context.config.folding is None else str(context.config.folding),
        standalone_thresholds=True,  # MVAU_rtl has no thresholds of its own; fused ones would mean HLS
        save_intermediate_models=False,
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
    from finn_build.lut_mvau import fuse_signs, replace_one_bit_mvau

    for node in model.get_nodes_by_op_type("MultiThreshold"):
        activation = getCustomOp(node)
        if activation.get_nodeattr("out_dtype") == "BIPOLAR":
            # FINN's hardware node counts the threshold and takes the bit for -1 or +1: no scale, no bias.
            activation.set_nodeattr("out_scale", 1.0)
            activation.set_nodeattr("out_bias", 0.0)
    return fuse_signs(replace_one_bit_mvau(_finn("convert_to_hw", model, context)))


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
    """Set PE, SIMD, memory, and LUTs or DSPs, from a search or from the user's file."""
    from finn_build.lut_mvau import replace_chosen_mvau

    if context.config.folding is not None:
        _check_folding(model, context.config.folding)
        return replace_chosen_mvau(_finn("apply_folding_config", model, context))
    problem = folding_problem(model, context.config.filled)
    solution = solve(problem, context.config.cycles)
    for node, layer, folding in zip(model.graph.node, problem.layers, solution.foldings, strict=True):
        for attribute, value in folding.attributes(layer).items():
            getCustomOp(node).set_nodeattr(attribute, value)
    return replace_chosen_mvau(model)


def folding_problem(model: ModelWrapper, board: Board) -> Problem:
    """Return what there is to fold, within the budget of `board`."""
    usable = board.usable
    budget = Budget(usable["lut"], usable["bram18"], usable["dsp"])
    return Problem(tuple(layer_of(model, node) for node in model.graph.node), board, budget)


def layer_of(model: ModelWrapper, node: Any) -> Layer:
    """Return a node that computes, as the search for a folding sees it."""
    inst = getCustomOp(node)
    in_bits, out_bits = inst.get_input_datatype(0).bitwidth(), inst.get_output_datatype().bitwidth()
    if node.op_type == "Thresholding_rtl":
        return Layer(node.name, node.op_type, 1, inst.get_nodeattr("NumChannels"), in_bits, out_bits)
    weights = inst.get_input_datatype(1)
    return Layer(
        node.name,
        node.op_type,
        inst.get_nodeattr("MW"),
        inst.get_nodeattr("MH"),
        in_bits,
        out_bits,
        weight_bits=weights.bitwidth(),
        accu_bits=inst.get_accumulator_datatype().bitwidth(),
        narrow_weights=bool(model.get_initializer(node.input[1]).min() > weights.min()),
    )


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
        settable = [attribute for attribute in FOLDED if attribute in types]
        for attribute in values:
            if attribute not in settable:
                raise ConfigError(
                    f"folding file {path} sets {attribute} of {name}; settable are {', '.join(settable)}."
                )
        for attribute, choices in CHOICES.items():
            legal_choices = [choice for choice in choices if attribute in types and choice in types[attribute][3]]
            if attribute in values and values[attribute] not in legal_choices:
                raise ConfigError(
                    f"folding file {path}: {name} has {attribute} {values[attribute]!r}, expected "
                    f"{' or '.join(legal_choices)}."
                )
        for attribute, divides in (("PE", "MH" if "MH" in types else "NumChannels"), ("SIMD", "MW")):
            if attribute not in values:
                continue
            size = nodes[name].get_nodeattr(divides)
            legal = divisors(size)
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
    """Width converters where two streams differ, and a FIFO on each stream that would stall a layer without one."""
    from finn.transformation.fpgadataflow.insert_dwc import InsertDWC
    from finn.transformation.fpgadataflow.insert_fifo import InsertFIFO
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers

    board, names = BOARDS[context.config.board], [node.name for node in model.graph.node]
    _convert_input(model, board)
    model = model.transform(InsertDWC()).transform(SpecializeLayers(board.part)).transform(GiveUniqueNodeNames())
    for name, depth in fifo_depths(stages(model)).items():
        getCustomOp(model.get_node_from_name(name)).set_nodeattr("inFIFODepths", [depth])
    model = model.transform(InsertFIFO()).transform(SpecializeLayers(board.part))
    _keep_out_of_uram(model)
    model = model.transform(GiveUniqueNodeNames())
    # FINN names nodes after their types, but a layer keeps the name that its folding has, whatever it is built of.
    layers = [node for node in model.graph.node if not node.op_type.startswith("Streaming")]
    for node, name in zip(layers, names, strict=True):
        node.name = name
    return model


def _keep_out_of_uram(model: ModelWrapper) -> None:
    """Let deep FIFOs be block RAM: the smallest devices have no UltraRAM, which FINN would choose for the deepest."""
    for node in model.get_nodes_by_op_type("StreamingFIFO_rtl"):
        if getCustomOp(node).get_nodeattr("depth") > LARGEST_IN_LUTS:
            getCustomOp(node).set_nodeattr("ram_style", "block")


def input_pixels(model: ModelWrapper, board: Board) -> int:
    """Return the pixels per beat of the input stream of a folded graph."""
    first = getCustomOp(model.graph.node[0])
    return board.input_pixels(int(first.get_nodeattr("MW")), int(first.get_nodeattr("SIMD")))


def _convert_input(model: ModelWrapper, board: Board) -> None:
    """Put a width converter in front of a first layer that a DMA can't drive: its streams have 8, 16, 32, ... bits."""
    node = model.graph.node[0]
    first = getCustomOp(node)
    simd, lanes = int(first.get_nodeattr("SIMD")), input_pixels(model, board)
    if simd == lanes:
        return
    source, shape, dtype = node.input[0], first.get_normal_input_shape(), first.get_input_datatype()
    converted = helper.make_tensor_value_info(model.make_new_valueinfo_name(), TensorProto.FLOAT, shape)
    model.graph.value_info.append(converted)
    model.set_tensor_datatype(converted.name, dtype)
    converter = helper.make_node(
        "StreamingDataWidthConverter", [source], [converted.name], domain="finn.custom_op.fpgadataflow",
        backend="fpgadataflow", inShape=shape, outShape=shape, dataType=dtype.name,
        inWidth=8 * lanes, outWidth=8 * simd,
    )  # fmt: skip
    model.graph.node.insert(0, converter)
    node.input[0] = converted.name


def hw_codegen(model: ModelWrapper, context: Context) -> ModelWrapper:
    """FINN writes each node's Verilog wrapper and memory files. As FINN's step of that name, but for its renaming."""
    from finn.transformation.fpgadataflow.prepare_ip import PrepareIP

    return model.transform(PrepareIP(BOARDS[context.config.board].part, context.config.clk_ns))


TO_ESTIMATES: tuple[Step, ...] = (
    qonnx_to_finn,
    streamline,
    pin_thresholds,
    convert_to_hw,
    create_dataflow_partition,
    specialize_layers,
    minimize_bit_width,
    fold,
)
BEFORE_PINNING = (qonnx_to_finn, streamline)
TO_RTL: tuple[Step, ...] = (insert_fifos, hw_codegen)
