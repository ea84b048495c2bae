"""FINN's width converter, finn-rtllib's vpc.sv, between streams of different widths."""

# ruff: noqa: D102, D107  op.Op and timing.Part say what every method does.

from collections.abc import Callable
from functools import cache, partial
from math import ceil, gcd, log2
from typing import TYPE_CHECKING, Any

from finn_build.costs import Family, Resources
from finn_build.ops.op import Node, Op, beats
from finn_build.timing import FOREVER, Chain, Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper


class WidthConverter(Op):
    """The same elements, more or fewer of them per beat."""

    op_type = "StreamingDataWidthConverter_rtl"
    called = "width converter"
    box = "converter"

    def node_cost(self, model: "ModelWrapper", inst: Any, family: Family) -> Resources:
        return cost(inst.get_instream_width(), inst.get_outstream_width(), family)

    def handshake(self, inst: Any) -> Callable[[], Part]:
        return partial(converter, *_widths(inst))

    def node_cycles(self, model: "ModelWrapper", inst: Any) -> int:
        return converter_cycles(*_widths(inst), beats(inst)[1])

    def title(self, node: Node, *, number: int, held: int | None) -> str:
        return f"width converter, {node.in_bits} to {node.out_bits} bit"


def _widths(inst: Any) -> tuple[int, int]:
    return int(inst.get_instream_width()), int(inst.get_outstream_width())


def insert_before(model: "ModelWrapper", node: Any, *, lanes: int) -> None:
    """Put one in front of the first node of `model`, from beats of so many elements to the node's.

    FINN does so between nodes; this is a node of FINN's before it chooses how to build it.
    """
    from qonnx.custom_op.registry import getCustomOp

    first = getCustomOp(node)
    shape, dtype = first.get_normal_input_shape(), first.get_input_datatype()
    source, node.input[0] = node.input[0], _tensor(model, shape, dtype)
    own = int(first.get_folded_input_shape()[-1])
    model.graph.node.insert(0, _node(source, node.input[0], shape, dtype, before=lanes, after=own))


def insert_behind(model: "ModelWrapper", node: Any, *, lanes: int) -> None:
    """Put one behind the last node of `model`, from the node's beats to beats of so many elements."""
    from qonnx.custom_op.registry import getCustomOp

    last = getCustomOp(node)
    shape, dtype = last.get_normal_output_shape(), last.get_output_datatype()
    sink, node.output[0] = node.output[0], _tensor(model, shape, dtype)
    own = int(last.get_folded_output_shape()[-1])
    model.graph.node.append(_node(node.output[0], sink, shape, dtype, before=own, after=lanes))


def _tensor(model: "ModelWrapper", shape: Any, dtype: Any) -> str:
    """Add a tensor and return its name."""
    from onnx import TensorProto, helper

    info = helper.make_tensor_value_info(model.make_new_valueinfo_name(), TensorProto.FLOAT, shape)
    model.graph.value_info.append(info)
    model.set_tensor_datatype(info.name, dtype)
    return str(info.name)


def _node(source: str, sink: str, shape: Any, dtype: Any, *, before: int, after: int) -> Any:
    """Return FINN's node, from beats of `before` elements to beats of `after`."""
    from onnx import helper

    bits = dtype.bitwidth()
    return helper.make_node(
        "StreamingDataWidthConverter", [source], [sink], domain="finn.custom_op.fpgadataflow",
        backend="fpgadataflow", inShape=shape, outShape=shape, dataType=dtype.name, inWidth=bits * before,
        outWidth=bits * after,
    )  # fmt: skip


def cost(in_bits: int, out_bits: int, family: Family) -> Resources:
    """FINN's StreamingDataWidthConverter_rtl between beats of `in_bits` and `out_bits` [bit]."""
    if out_bits == 1:
        lut = 3.1 * in_bits
    elif in_bits % out_bits == 0:
        lut = in_bits * (1.75 * log2(in_bits / out_bits) - 0.05) + 20
    elif out_bits % in_bits == 0:
        lut = 35 + 1.5 * out_bits / in_bits + 0.1 * out_bits
    elif in_bits < out_bits:  # each beat is put behind what is left of the one before, at one of so many places
        lut = 1.1 * in_bits * (in_bits // gcd(in_bits, out_bits)) + 30
    else:
        lut = 1.35 * in_bits * (out_bits // gcd(in_bits, out_bits)) + 30
    return Resources(lut=round(lut), ff=in_bits + out_bits + 10)


def converter(in_bits: int, out_bits: int) -> Part:
    """Return the model of a width converter: vpc.sv has three forms."""
    if out_bits == 1:
        return Serializer(in_bits=in_bits)
    if in_bits == 1:
        return Deserializer(out_bits=out_bits)
    return Converter(in_bits=in_bits, out_bits=out_bits)


@cache
def converter_cycles(in_bits: int, out_bits: int, results: int) -> int:
    """Return the cycles per image of a width converter that nothing makes wait, for so many output beats per image.

    Where neither width divides the other, vpc.sv has cycles in which its buffer can neither give nor take a beat.
    """
    return ceil(Chain([converter(in_bits, out_bits)]).interval(0) * results)


class Converter(Part):
    """FINN's width converter vpc.sv, in its general form: a buffer of one input and one output beat."""

    def __init__(self, *, in_bits: int, out_bits: int) -> None:
        unit = gcd(in_bits, out_bits)
        self.enters, self.leaves = in_bits // unit, out_bits // unit
        self.content, self.latency = 0, 1

    def ready(self, sink: bool) -> bool:
        return self.content <= self.leaves

    def valid(self) -> bool:
        return self.content >= self.leaves

    def step(self, taken: bool, given: bool) -> None:
        self.content += taken * self.enters - given * self.leaves

    def state(self) -> tuple[object, ...]:
        return (self.content,)


class Serializer(Part):
    """vpc.sv to one bit: a shift register that is loaded when empty, and an output register."""

    def __init__(self, *, in_bits: int) -> None:
        self.bits, self.left, self.held, self.latency = in_bits, 0, False, 1

    def ready(self, sink: bool) -> bool:
        return not self.left

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        free = given or not self.held
        if taken:
            self.left = self.bits - free
            self.held = True
        elif free:
            self.held = self.left > 0
            self.left -= self.held

    def quiet(self) -> int:
        return 0 if self.left and not self.held else FOREVER

    def state(self) -> tuple[object, ...]:
        return self.left, self.held


class Deserializer(Part):
    """vpc.sv from one bit: a shift register, and one bit that comes while it is full."""

    def __init__(self, *, out_bits: int) -> None:
        self.bits, self.content, self.aside, self.latency = out_bits, 0, False, 1

    def ready(self, sink: bool) -> bool:
        return not self.aside

    def valid(self) -> bool:
        return self.content == self.bits

    def step(self, taken: bool, given: bool) -> None:
        if taken and self.content == self.bits and not given:
            self.aside = True
        elif given:
            self.content = taken or self.aside
            self.aside = False
        else:
            self.content += taken

    def state(self) -> tuple[object, ...]:
        return self.content, self.aside


OP = WidthConverter()
