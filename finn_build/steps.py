"""The steps from the integer network to RTL.

Every step is `(model, config) -> model`. `chain.py` saves each result, executes it and compares; no step
can forget that.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import prod
from pathlib import Path

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from contract.errors import ConfigError
from finn_build.config import Activation, BuildConfig
from finn_build.fifos import fifo_depths, stages
from finn_build.folding import Problem, budget, solve
from finn_build.folding_file import read_folding
from finn_build.ops import OPS, layer_op, op_of, width_converter
from finn_build.targets.boards import BOARDS, Board

Step = Callable[[ModelWrapper, BuildConfig], ModelWrapper]


def fold(model: ModelWrapper, config: BuildConfig) -> ModelWrapper:
    """Set PE, SIMD, memory, and LUTs or DSPs, from a search or from the user's file."""
    if config.folding is not None:
        for name, values in read_folding(model, config.folding).items():
            for attribute, value in values.items():
                getCustomOp(model.get_node_from_name(name)).set_nodeattr(attribute, value)
        _require_as_given(model, config.folding)
        return _as_chosen(model)
    problem = folding_problem(model, config.filled, config.activation, stream_bits=config.stream_bits)
    solution = solve(problem, config)
    for node, layer, folding in zip(model.graph.node, problem.layers, solution.foldings, strict=True):
        for attribute, value in layer_op(layer).attributes(folding).items():
            getCustomOp(node).set_nodeattr(attribute, value)
    return _as_chosen(model)


def _require_as_given(model: ModelWrapper, path: Path) -> None:
    """Stop at a node that takes other beats than the one before gives, where no width converter helps: ConfigError."""
    for before, node in pairwise(model.graph.node):
        inst = getCustomOp(node)
        given, taken = (
            int(shape[-1]) for shape in (getCustomOp(before).get_folded_output_shape(), inst.get_folded_input_shape())
        )
        if not layer_op(node).layer(model, inst).takes(given, taken):
            raise ConfigError(
                f"folding file {path}: {before.name} gives {given} values at a time and {node.name} takes {taken}, "
                "which must be as many. Change one of the two."
            )


def _as_chosen(model: ModelWrapper) -> ModelWrapper:
    """Replace the nodes whose folding chooses another op; return `model`."""
    for node in list(model.graph.node):
        layer_op(node).build(model, node)
    return model


def folding_problem(
    model: ModelWrapper, board: Board, activation: Activation = "auto", *, stream_bits: int | None = None
) -> Problem:
    """Return what there is to fold, within the budget of `board`."""
    layers = (layer_op(node).layer(model, getCustomOp(node)) for node in model.graph.node)
    found = tuple(replace(layer, activation=activation) for layer in layers)
    return Problem(found, board, budget(board), stream_bits)


def insert_fifos(model: ModelWrapper, config: BuildConfig) -> ModelWrapper:
    """Width converters where two streams differ, and a FIFO on each stream that would stall a layer without one."""
    from finn.transformation.fpgadataflow.insert_dwc import InsertDWC
    from finn.transformation.fpgadataflow.insert_fifo import InsertFIFO

    board, names = BOARDS[config.board], [node.name for node in model.graph.node]
    _convert_input(model, config)
    _convert_output(model)
    model = _in_rtl(model.transform(InsertDWC()), board).transform(GiveUniqueNodeNames())
    for name, depth in fifo_depths(stages(model)).items():
        getCustomOp(model.get_node_from_name(name)).set_nodeattr("inFIFODepths", [depth])
    model = _in_rtl(model.transform(InsertFIFO()), board)
    for node in model.graph.node:
        op_of(node).settle(getCustomOp(node))
    model = model.transform(GiveUniqueNodeNames())
    # FINN names nodes after their types, but a layer keeps the name that its folding has, whatever it is built of.
    layers = [node for node in model.graph.node if op_of(node).computes]
    for node, name in zip(layers, names, strict=True):
        node.name = name
    return model


def _in_rtl(model: ModelWrapper, board: Board) -> ModelWrapper:
    """Let FINN choose how it builds the nodes that it inserted. Raises ConfigError where it has no RTL for one."""
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers

    model = model.transform(SpecializeLayers(board.part))
    hls = [node.name for node in model.graph.node if node.op_type not in OPS]
    if hls:
        raise ConfigError(
            f"there is no RTL for {', '.join(hls)}: FINN maps it to HLS, which needs Vitis. Change the widths of the "
            "streams beside it: PE of the layer before, SIMD of the layer behind."
        )
    return model


def input_pixels(model: ModelWrapper, config: BuildConfig) -> int:
    """Return the pixels per beat of the input stream of a folded graph. Raises ConfigError."""
    first = getCustomOp(model.graph.node[0])
    values, lanes = prod(map(int, first.get_normal_input_shape())), int(first.get_folded_input_shape()[-1])
    bits = first.get_input_datatype().bitwidth()
    return BOARDS[config.board].input_pixels(values, lanes, bits, stream_bits=config.stream_bits)


def _convert_input(model: ModelWrapper, config: BuildConfig) -> None:
    """Put a width converter in front of a first layer that reads another width than the stream has.

    A DMA's streams have 8, 16, 32, ... bits, and one of them may have been asked for.
    """
    node = model.graph.node[0]
    first = getCustomOp(node)
    simd, lanes = int(first.get_folded_input_shape()[-1]), input_pixels(model, config)
    if simd == lanes:
        return
    width_converter.insert_before(model, node, lanes=lanes)


def _convert_output(model: ModelWrapper) -> None:
    """Put a width converter behind a last layer that gives several results at a time: the stream carries one a beat."""
    node = model.graph.node[-1]
    if int(getCustomOp(node).get_folded_output_shape()[-1]) > 1:
        width_converter.insert_behind(model, node, lanes=1)


def hw_codegen(model: ModelWrapper, config: BuildConfig) -> ModelWrapper:
    """FINN writes each node's Verilog wrapper and memory files. As FINN's step of that name, but for its renaming."""
    from finn.transformation.fpgadataflow.prepare_ip import PrepareIP

    return model.transform(PrepareIP(BOARDS[config.board].part, config.clk_ns))


TO_RTL: tuple[Step, ...] = (insert_fifos, hw_codegen)
