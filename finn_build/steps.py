"""The steps from the integer network to RTL.

Every step is `(model, config) -> model`. `chain.py` saves each result, executes it and compares; no step
can forget that.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from contract.errors import ArtifactError, ConfigError
from contract.files import read_json
from finn_build.boards import BOARDS, Board
from finn_build.config import BuildConfig
from finn_build.fifos import LARGEST_IN_LUTS, fifo_depths, stages
from finn_build.folding import Layer, Problem, budget, divisors, solve

FOLDED = ("PE", "SIMD", "ram_style", "resType")  # what a folding file may set, as far as a node has it
CHOICES = {"ram_style": ("auto", "block", "distributed"), "resType": ("auto", "dsp", "lut")}
Step = Callable[[ModelWrapper, BuildConfig], ModelWrapper]


def fold(model: ModelWrapper, config: BuildConfig) -> ModelWrapper:
    """Set PE, SIMD, memory, and LUTs or DSPs, from a search or from the user's file."""
    from finn_build.lut_mvau import replace_chosen_mvau

    if config.folding is not None:
        for name, values in read_folding(model, config.folding).items():
            for attribute, value in values.items():
                getCustomOp(model.get_node_from_name(name)).set_nodeattr(attribute, value)
        return replace_chosen_mvau(model)
    problem = folding_problem(model, config.filled)
    solution = solve(problem, config.cycles)
    for node, layer, folding in zip(model.graph.node, problem.layers, solution.foldings, strict=True):
        for attribute, value in folding.attributes(layer).items():
            getCustomOp(node).set_nodeattr(attribute, value)
    return replace_chosen_mvau(model)


def folding_problem(model: ModelWrapper, board: Board) -> Problem:
    """Return what there is to fold, within the budget of `board`."""
    return Problem(tuple(layer_of(model, node) for node in model.graph.node), board, budget(board))


def layer_of(model: ModelWrapper, node: Any) -> Layer:
    """Return a node that computes, as the search for a folding sees it."""
    inst = getCustomOp(node)
    in_bits, out_bits = inst.get_input_datatype(0).bitwidth(), inst.get_output_datatype().bitwidth()
    if node.op_type == "Thresholding_rtl":
        return Layer(node.name, node.op_type, 1, inst.get_nodeattr("NumChannels"), in_bits, out_bits)
    weights, constant = inst.get_input_datatype(1), model.get_initializer(node.input[1])
    return Layer(
        node.name,
        node.op_type,
        inst.get_nodeattr("MW"),
        inst.get_nodeattr("MH"),
        in_bits,
        out_bits,
        weight_bits=weights.bitwidth(),
        accu_bits=inst.get_accumulator_datatype().bitwidth(),
        narrow_weights=constant is None or bool(constant.min() > weights.min()),
    )


def read_folding(model: ModelWrapper, path: Path) -> dict[str, dict[str, int | str]]:
    """Return the attributes that a folding file gives to nodes. Raises ConfigError."""
    try:
        folding = read_json(path, advice="Give an existing file, see folding.json of a build, or use target_fps.")
        wanted = {name: dict(values) for name, values in folding.items()}
    except ArtifactError as err:
        raise ConfigError(f"folding file {err}") from err
    except (ValueError, AttributeError, TypeError) as err:
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
    return wanted


def insert_fifos(model: ModelWrapper, config: BuildConfig) -> ModelWrapper:
    """Width converters where two streams differ, and a FIFO on each stream that would stall a layer without one."""
    from finn.transformation.fpgadataflow.insert_dwc import InsertDWC
    from finn.transformation.fpgadataflow.insert_fifo import InsertFIFO

    board, names = BOARDS[config.board], [node.name for node in model.graph.node]
    _convert_input(model, board)
    model = _in_rtl(model.transform(InsertDWC()), board).transform(GiveUniqueNodeNames())
    for name, depth in fifo_depths(stages(model)).items():
        getCustomOp(model.get_node_from_name(name)).set_nodeattr("inFIFODepths", [depth])
    model = _in_rtl(model.transform(InsertFIFO()), board)
    _keep_out_of_uram(model)
    model = model.transform(GiveUniqueNodeNames())
    # FINN names nodes after their types, but a layer keeps the name that its folding has, whatever it is built of.
    layers = [node for node in model.graph.node if not node.op_type.startswith("Streaming")]
    for node, name in zip(layers, names, strict=True):
        node.name = name
    return model


def _in_rtl(model: ModelWrapper, board: Board) -> ModelWrapper:
    """Let FINN choose how it builds the nodes that it inserted. Raises ConfigError where it has no RTL for one."""
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers

    model = model.transform(SpecializeLayers(board.part))
    hls = [node.name for node in model.graph.node if node.op_type.endswith("_hls")]
    if hls:
        raise ConfigError(
            f"there is no RTL for {', '.join(hls)}: FINN maps it to HLS, which needs Vitis. Change the widths of the "
            "streams beside it: PE of the layer before, SIMD of the layer behind."
        )
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


def hw_codegen(model: ModelWrapper, config: BuildConfig) -> ModelWrapper:
    """FINN writes each node's Verilog wrapper and memory files. As FINN's step of that name, but for its renaming."""
    from finn.transformation.fpgadataflow.prepare_ip import PrepareIP

    return model.transform(PrepareIP(BOARDS[config.board].part, config.clk_ns))


TO_RTL: tuple[Step, ...] = (insert_fifos, hw_codegen)
