"""Our depthwise convolution, plain RTL, in LUTs for every width and on DSPs: FINN's RTL is for Versal only.

A sign behind it becomes part of it. In LUTs a lane is `lut_products.sv` with one column: `lut_mvau.py` knows what its
sums start from.
"""

# ruff: noqa: D102  op.Op says what every method does.

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from finn_build.costs import Family, RamStyle, Resources, rom
from finn_build.ops import reduction
from finn_build.ops.lut_mvau import needed_parameter, row_starts
from finn_build.ops.op import Attributes, Folding, Layer, Legal, Node, divisors
from finn_build.ops.own import memory_lines, wrapper
from finn_build.ops.reduction import Reduce, Reduction
from finn_build.timing import Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

SOURCES = ("adder_tree.sv", "count_ones.sv", "lut_products.sv", "row_thresholds.sv", "depthwise.sv")
UNITS = ("lut", "dsp")
SMALLEST_DSP = 8  # bits of both operands: of fewer, synthesis makes LUTs in any case
STYLES: tuple[RamStyle, ...] = ("distributed", "block")


class Depthwise(Reduction):
    """The sum of each window and channel, times weights of its own."""

    op_type = "Depthwise_rtl"
    called = "Layer"
    signs = True
    choices: ClassVar = {"ram_style": ("auto", *STYLES), "resType": UNITS}

    def node_class(self) -> type:
        return node_class()

    def legal(self, inst: Any, *, trained: bool = True) -> dict[str, Legal]:
        found = super().legal(inst, trained=trained)
        if not multiplies(*(inst.get_input_datatype(i).bitwidth() for i in (1, 0))):
            found["resType"] = Legal(UNITS[:1], "its numbers are too narrow for a DSP")
        return found

    def layer(self, model: "ModelWrapper", inst: Any) -> Layer:
        bits = inst.get_input_datatype(1).bitwidth(), inst.get_accumulator_datatype().bitwidth()
        return replace(super().layer(model, inst), weight_bits=bits[0], accu_bits=bits[1])

    def foldings(self, layer: Layer) -> Iterator[Folding]:
        units = (False, True) if multiplies(layer.weight_bits, layer.in_bits) else (True,)
        for pe, in_luts in product(divisors(layer.mh), units):
            for style in STYLES if layer.mw // pe > 2 else STYLES[:1]:
                yield Folding(pe, ram_style=style, in_luts=in_luts)

    def folding(self, inst: Any) -> Folding:
        in_luts = inst.get_nodeattr("resType") == "lut"
        return Folding(inst.get_nodeattr("PE"), ram_style=inst.get_nodeattr("ram_style"), in_luts=in_luts)

    def attributes(self, folding: Folding) -> Attributes:
        return {"PE": folding.pe, "ram_style": folding.ram_style, "resType": "lut" if folding.in_luts else "dsp"}

    def cost(self, layer: Layer, folding: Folding, family: Family) -> Resources:
        return cost(
            layer.mh, layer.mw // layer.mh, folding.pe, layer.weight_bits, layer.in_bits, layer.accu_bits,
            in_luts=folding.in_luts, ram_style=folding.ram_style,
        )  # fmt: skip

    def handshake(self, inst: Any) -> Callable[[], Part]:
        weight_bits, act_bits = (inst.get_input_datatype(i).bitwidth() for i in (1, 0))
        stages = registers(weight_bits, act_bits, in_luts=self.folding(inst).in_luts)
        return partial(Reduce, beats=inst.get_nodeattr("Window"), stages=stages)

    def activates(self, *, bipolar: bool) -> bool:
        return bipolar

    def title(self, node: Node, *, number: int, held: int | None) -> str:
        return f"{self.called} {number}: depthwise" + (", sign" if node.bipolar else "")


def multiplies(weight_bits: int, act_bits: int) -> bool:
    """Whether numbers of these widths can be multiplied on a DSP."""
    return min(weight_bits, act_bits) > 1 and weight_bits + act_bits >= SMALLEST_DSP


def registers(weight_bits: int, act_bits: int, *, in_luts: bool) -> int:
    """Return the registers from a beat to its terms."""
    if not in_luts:
        return 2
    if act_bits > 1:
        return 2 + (weight_bits - 1).bit_length()
    return 4 if weight_bits == 1 else 1


@cache
def node_class() -> type:
    """Return the node. Imports FINN."""
    from qonnx.core.datatype import DataType

    base: Any = reduction.node_class()

    class Depthwise_rtl(base):  # type: ignore[misc]  # noqa: N801  FINN tells its RTL nodes by the suffix
        """A sum for each window and channel; weights are (places of a window, channels). A width of 1 is bipolar.

        With a third input, (channels, 1) thresholds, the answer is whether the sum reaches them: -1 or +1. Other
        activations are nodes of their own.
        """

        own_sources = SOURCES
        op = OP

        def get_nodeattr_types(self) -> dict[str, Any]:
            """Return the attributes. The weights live in the module: there is no weight stream."""
            return {
                **super().get_nodeattr_types(),
                "weightDataType": ("s", True, ""),
                "accDataType": ("s", True, ""),
                "ram_style": ("s", False, "auto", {"auto", *STYLES}),
                "resType": ("s", False, UNITS[0], set(UNITS)),
            }

        def get_accumulator_datatype(self) -> Any:
            """Return that of the sums."""
            return DataType[self.get_nodeattr("accDataType")]

        @property
        def fused(self) -> bool:
            """Whether it answers with signs."""
            return len(self.onnx_node.input) == 3

        def execute_node(self, context: dict[str, NDArray[Any]], graph: Any) -> None:
            """Compute the true sums."""
            node = self.onnx_node
            x, weights = self.windows(context[node.input[0]]), context[node.input[1]]
            lanes = weights.reshape(len(weights), -1, x.shape[-1]).swapaxes(
                0, 1
            )  # (groups, places, channels of a group)
            sums = (x * lanes).sum(axis=-2).reshape(*x.shape[:-3], -1)
            if self.fused:
                sums = np.where(sums >= context[node.input[2]].T, 1, -1).astype(sums.dtype)
            context[node.output[0]] = sums

        def write_module(self, model: "ModelWrapper", folder: Path) -> None:
            """Write the module and the weights of every lane."""
            write_module(self, model, folder)

    return Depthwise_rtl


def write_module(inst: Any, model: "ModelWrapper", folder: Path) -> None:
    """Write the module NAME.v of a node, with FINN's port names, and its weights into `folder`."""
    node, chosen = inst.onnx_node, OP.folding(inst)
    weights = model.get_initializer(node.input[1]).T.astype(np.int64)
    kind, bits, accu = (
        inst.get_input_datatype(0),
        inst.get_input_datatype(1).bitwidth(),
        inst.get_accumulator_datatype(),
    )
    begin = starts(weights, kind, pe=chosen.pe, bits=bits, dsp=not chosen.in_luts)
    if inst.fused:
        begin = begin - model.get_initializer(node.input[2])[:, 0].astype(np.int64)
    packed = sum((int(v) % 2 ** accu.bitwidth()) << (i * accu.bitwidth()) for i, v in enumerate(begin))
    for lane, words in enumerate(lane_weights(weights, pe=chosen.pe, bits=bits)):
        (folder / f"{node.name}_weights_{lane:04}.dat").write_text(memory_lines(words, bits), encoding="ascii")
    values: dict[str, object] = {
        "CHANNELS": len(weights), "TAPS": weights.shape[1], "PE": chosen.pe, "WEIGHT_BITS": bits,
        "ACT_BITS": kind.bitwidth(), "ACT_SIGNED": int(kind.signed() and kind.bitwidth() > 1),
        "ACCU_BITS": accu.bitwidth(), "START": f"{len(begin) * accu.bitwidth()}'h{packed:x}", "SIGN": int(inst.fused),
        "DSP": int(not chosen.in_luts), "WEIGHT_FILE": f'"./{node.name}_weights"',
        "RAM_STYLE": f'"{chosen.ram_style}"',
    }  # fmt: skip
    if chosen.in_luts and bits > 1 and kind.bitwidth() > 1:
        values["NEEDED"] = needed_parameter(weights, pe=chosen.pe, simd=1)
    (folder / f"{node.name}.v").write_text(wrapper(inst, "depthwise", values), encoding="ascii")


def starts(weights: NDArray[np.int64], activations: Any, *, pe: int, bits: int, dsp: bool) -> NDArray[np.int64]:
    """Return, (C,), what makes the true sum of the sum of terms that depthwise.sv adds up.

    Args:
        weights: (C, places of a window); -1 or +1 if `bits` is 1.
        activations: their qonnx datatype.
        pe: channels at a time.
        bits: of a weight; 1 is bipolar.
        dsp: whether it multiplies on DSPs.
    """
    if dsp:
        return np.zeros(len(weights), dtype=np.int64)
    return row_starts(weights, activations, pe=pe, simd=1, bits=bits)


def lane_weights(weights: NDArray[np.int64], *, pe: int, bits: int) -> list[list[int]]:
    """Return the words of each lane's file, as the header of depthwise.sv describes them; arguments as for `starts`."""
    coded = (weights > 0).astype(np.int64) if bits == 1 else weights
    return [coded[lane::pe].ravel().tolist() for lane in range(pe)]


def cost(
    channels: int,
    taps: int,
    pe: int,
    w_bits: int,
    a_bits: int,
    acc_bits: int,
    *,
    in_luts: bool,
    ram_style: RamStyle = "auto",
) -> Resources:
    """Our depthwise unit.

    Args:
        channels: of the image.
        taps: places of a window.
        pe: channels at a time.
        w_bits: of a weight [bit]; 1 is bipolar.
        a_bits: of an activation [bit]; 1 is bipolar.
        acc_bits: of a sum [bit].
        in_luts: whether it multiplies in LUTs.
        ram_style: of the weights.
    """
    folds = channels // pe
    counters = sum((n - 1).bit_length() for n in (taps, folds, taps * folds))
    lut, ff = 1.17 * acc_bits, 2.0 * acc_bits + (0 if ram_style == "block" else w_bits)
    if in_luts:
        narrow = min(w_bits, a_bits) == 1
        lut += 2.8 * max(w_bits, a_bits) if narrow else 1.3 * w_bits * a_bits
        ff += 2.5 * (w_bits + a_bits) + (0 if narrow else 0.6 * w_bits * a_bits)
    memory = rom(taps * folds, w_bits, ram_style)
    lane = Resources(round(lut) + memory.lut, round(ff), memory.bram18, int(not in_luts))
    return Resources(pe * lane.lut + round(1.3 * counters), pe * lane.ff + counters, pe * lane.bram18, pe * lane.dsp)


OP = Depthwise()
