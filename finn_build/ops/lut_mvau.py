"""Our matrix-vector unit in LUTs, plain RTL.

FINN's own RTL computes with DSPs and starts at 2 bits for weights and activations; below it generates HLS. This node is
FINN's matrix-vector node (its folding and shapes) with `rtl/lut_mvu.sv` as the hardware, for every width. It computes
the true sum of -1 / +1 products where FINN counts agreeing bits, so the thresholds behind it are those of
reference.npz. A sign behind it becomes part of it.
"""

# ruff: noqa: D102, D107  op.Op and timing.Part say what every method does.

from collections.abc import Callable
from functools import cache, partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finn_build.costs import SMALLEST_BLOCK, Family, RamStyle, Resources, bram18, lutram, rom
from finn_build.ops.op import DOMAIN, Folding, Layer
from finn_build.ops.own import OwnRtl, put_in_place, wrapper
from finn_build.ops.product import Product
from finn_build.targets.families import family_of
from finn_build.timing import FOREVER, Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

SOURCES = (
    "adder_tree.sv", "count_ones.sv", "lut_products.sv", "row_thresholds.sv", "vector_replay.sv", "lut_mvu.sv",
)  # fmt: skip


class LutMvau(Product):
    """A product without multipliers, of any width; 1 is bipolar."""

    op_type = "LutMVAU_rtl"
    signs = True

    def multiplies(self, *, weight_bits: int, act_bits: int) -> bool:
        return weight_bits == 1 or act_bits == 1

    def node_class(self) -> type:
        return node_class()

    def cost(self, layer: Layer, folding: Folding, family: Family) -> Resources:
        return cost(
            layer.mw, layer.mh, folding.pe, folding.simd, layer.weight_bits, layer.in_bits, layer.accu_bits, family,
            ram_style=folding.ram_style,
        )  # fmt: skip

    def handshake(self, inst: Any) -> Callable[[], Part]:
        mw, mh, pe, simd = (int(inst.get_nodeattr(key)) for key in ("MW", "MH", "PE", "SIMD"))
        act_bits, weight_bits = (inst.get_input_datatype(i).bitwidth() for i in (0, 1))
        sizes = {"beats": mw // simd, "passes": mh // pe, "simd": simd}
        return partial(LutMvu, **sizes, weight_bits=weight_bits, act_bits=act_bits)


@cache
def node_class() -> type:
    """Return the node. Imports FINN."""
    from finn.custom_op.fpgadataflow.matrixvectoractivation import MVAU
    from finn.custom_op.fpgadataflow.rtlbackend import RTLBackend

    class LutMVAU_rtl(OwnRtl, MVAU, RTLBackend):  # noqa: N801  FINN tells its RTL nodes by the suffix
        """Matrix-vector product without multipliers. A width of 1 is bipolar.

        With a third input, (MH, 1) thresholds, the answer is whether the product reaches them: -1 or +1. Other
        activations are nodes of their own.
        """

        own_sources = SOURCES

        def get_nodeattr_types(self) -> dict[str, Any]:
            """Return the attributes of FINN's node. The weights live in the module: there is no weight stream."""
            return {
                **MVAU.get_nodeattr_types(self),
                **RTLBackend.get_nodeattr_types(self),
                "mem_mode": ("s", False, "internal_embedded", {"internal_embedded"}),
                "ram_style": ("s", False, "auto", {"auto", "block", "distributed"}),
                "resType": ("s", False, "lut", {"lut"}),
            }

        @property
        def fused(self) -> bool:
            """Whether it answers with signs."""
            return len(self.onnx_node.input) == 3

        def execute_node(self, context: dict[str, NDArray[np.float32]], graph: Any) -> None:
            """Compute the true sums, where FINN's node counts the agreements of two bipolar operands."""
            node = self.onnx_node
            sums = np.matmul(context[node.input[0]], context[node.input[1]])
            if self.fused:
                sums = np.where(sums >= context[node.input[2]].T, 1.0, -1.0)
            context[node.output[0]] = sums

        def _cost(self, fpgapart: str) -> Resources:
            mw, mh, pe, simd = (self.get_nodeattr(name) for name in ("MW", "MH", "PE", "SIMD"))
            act_bits, weight_bits = (self.get_input_datatype(i).bitwidth() for i in (0, 1))
            return cost(
                mw, mh, pe, simd, weight_bits, act_bits, self.get_accumulator_datatype().bitwidth(),
                family_of(fpgapart).name, ram_style=self.get_nodeattr("ram_style"),
            )  # fmt: skip

        def write_module(self, model: "ModelWrapper", folder: Path) -> None:
            """Write the module and its weights."""
            write_module(self, model, folder)

    return LutMVAU_rtl


def write_module(inst: Any, model: "ModelWrapper", folder: Path) -> None:
    """Write the module NAME.v of a node, with FINN's port names, and its weights into `folder`."""
    name = inst.onnx_node.name
    weights, thresholds = _integers(inst, model)
    pe, simd, bits = inst.get_nodeattr("PE"), inst.get_nodeattr("SIMD"), inst.get_input_datatype(1).bitwidth()
    starts = row_starts(weights, inst.get_input_datatype(0), pe=pe, simd=simd, bits=bits) - thresholds
    words = weight_words(weights, pe=pe, simd=simd, bits=bits)
    (folder / f"{name}_weights.dat").write_text("\n".join(words) + "\n", encoding="ascii")
    (folder / f"{name}.v").write_text(_wrapper(inst, weights, starts), encoding="ascii")


def _integers(inst: Any, model: "ModelWrapper") -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return weights, (MH, MW), and thresholds, (MH,); these are 0 where there are none."""
    weights = model.get_initializer(inst.onnx_node.input[1]).T.astype(np.int64)
    if not inst.fused:
        return weights, np.zeros(len(weights), dtype=np.int64)
    return weights, model.get_initializer(inst.onnx_node.input[2])[:, 0]


def _wrapper(inst: Any, weights: NDArray[np.int64], starts: NDArray[np.int64]) -> str:
    name = inst.onnx_node.name
    bits = inst.get_accumulator_datatype().bitwidth()
    packed = sum((int(start) % 2**bits) << (i * bits) for i, start in enumerate(starts))
    values = {key: inst.get_nodeattr(key) for key in ("MW", "MH", "PE", "SIMD")} | {
        "WEIGHT_BITS": inst.get_input_datatype(1).bitwidth(),
        "ACT_BITS": inst.get_input_datatype(0).bitwidth(),
        "ACT_SIGNED": int(inst.get_input_datatype(0).signed()),
        "ACCU_BITS": bits,
        "START": f"{len(starts) * bits}'h{packed:x}",
        "SIGN": int(inst.fused),
        "WEIGHT_FILE": f'"./{name}_weights.dat"',
        "RAM_STYLE": f'"{inst.get_nodeattr("ram_style")}"',
    }
    if values["WEIGHT_BITS"] > 1 and values["ACT_BITS"] > 1:
        values["NEEDED"] = needed_parameter(weights, pe=values["PE"], simd=values["SIMD"])
    return wrapper(inst, "lut_mvu", values)


def replace(model: "ModelWrapper", node: Any) -> None:
    """Let a node of FINN's matrix-vector unit be built of LUTs. It keeps its name."""
    from onnx import helper
    from qonnx.custom_op.registry import getCustomOp

    inst = getCustomOp(node)
    kept = (
        "MW", "MH", "PE", "SIMD", "inputDataType", "weightDataType", "outputDataType", "accDataType", "ram_style",
    )  # fmt: skip
    attributes = {name: inst.get_nodeattr(name) for name in kept}
    vectors = [int(v) for v in inst.get_nodeattr("numInputVectors")]
    new = helper.make_node(
        LutMvau.op_type, node.input, node.output, name=node.name, domain=DOMAIN, backend="fpgadataflow", noActivation=1,
        numInputVectors=vectors, **attributes,
    )  # fmt: skip
    put_in_place(model, node, new)


def needed_bits(weights: NDArray[np.int64], *, pe: int, simd: int) -> NDArray[np.int64]:
    """Return, (pe, simd), the bits that all weights which are multiplied at the same place need as signed numbers.

    Args:
        weights: (MH, MW) of more than one bit.
        pe: rows at a time.
        simd: columns at a time.
    """
    mh, mw = weights.shape
    largest = np.maximum(weights, ~weights).reshape(mh // pe, pe, mw // simd, simd).max(axis=(0, 2))
    return np.asarray(np.frexp(largest)[1] + 1, dtype=np.int64)


def needed_parameter(weights: NDArray[np.int64], *, pe: int, simd: int) -> str:
    """Return NEEDED as lut_products.sv takes it; arguments as for `needed_bits`."""
    needed = needed_bits(weights, pe=pe, simd=simd).reshape(-1)
    return f"{8 * len(needed)}'h{bytes(needed[::-1].tolist()).hex()}"


def row_starts(weights: NDArray[np.int64], activations: Any, *, pe: int, simd: int, bits: int) -> NDArray[np.int64]:
    """Return, (MH,), what makes the true sum of a row of the sum of terms that lut_products.sv adds up.

    Args:
        weights: (MH, MW); -1 or +1 if `bits` is 1.
        activations: their qonnx datatype.
        pe: rows at a time.
        simd: columns per beat.
        bits: of a weight; 1 is bipolar.
    """
    (mh, mw), wide = weights.shape, activations.bitwidth()
    if wide == 1:
        return np.full(mh, -mw if bits == 1 else 0)
    signed = 2 ** (wide - 1) * weights.sum(axis=1) if activations.signed() else 0
    if bits > 1:
        # Inverting what the highest bit takes of a pair, or of a single column, adds that many ones.
        needed = needed_bits(weights, pe=pe, simd=simd)
        highest = np.maximum(needed[:, ::2], np.pad(needed, ((0, 0), (0, 1)))[:, 1::2]) - 1
        inverted = (2 ** (wide + (simd > 1)) - 1 << highest).sum(axis=1) * (mw // simd)
        return -np.tile(inverted, mh // pe) - signed
    # With M the greatest activation: ~b is M - b, and ~(a + b) is 2 * M + 1 - a - b, so a negative weight adds M too
    # much, and one more where it inverts a whole pair. A last odd column is as wide as a pair when it is inverted.
    negative, place = weights < 0, np.arange(mw) % simd
    too_much = (2**wide - 1) * negative.sum(axis=1) + negative[:, (place % 2 == 0) & (place + 1 < simd)].sum(axis=1)
    if simd % 2 and simd > 1:
        too_much += 2**wide * negative[:, place == simd - 1].sum(axis=1)
    return np.asarray(-too_much - signed)


def weight_words(weights: NDArray[np.int64], *, pe: int, simd: int, bits: int) -> list[str]:
    """Return the lines of WEIGHT_FILE, as the headers of lut_mvu.sv and lut_products.sv describe them.

    Args:
        weights: (MH, MW); -1 or +1 if `bits` is 1.
        pe: rows per word.
        simd: columns per word.
        bits: of a weight; 1 is bipolar.
    """
    mh, mw = weights.shape
    coded = (weights > 0).astype(np.int64) if bits == 1 else weights & ((1 << bits) - 1)
    words = coded.reshape(mh // pe, pe, mw // simd, simd).transpose(0, 2, 1, 3).reshape(-1, pe * simd)
    digits = -(-pe * simd * bits // 4)
    unpacked = (words[:, :, None] >> np.arange(bits)) & 1  # (words, elements, bits), the least significant first
    packed = np.packbits(unpacked.reshape(len(words), -1).astype(np.uint8), axis=1, bitorder="little")
    return [f"{int.from_bytes(row.tobytes(), 'little'):0{digits}x}" for row in packed]


def cost(
    mw: int,
    mh: int,
    pe: int,
    simd: int,
    w_bits: int,
    a_bits: int,
    acc_bits: int,
    family: Family,
    *,
    ram_style: RamStyle = "auto",
) -> Resources:
    """Our matrix-vector unit in LUTs; arguments as for mvau.py's, but every width from 1, which is bipolar.

    The terms are those of the header of lut_products.sv, of weights that all need their whole width.
    """
    agree, pairs = w_bits == a_bits == 1, a_bits > 1
    group = min(simd, 18) if agree else min(simd, 2) if pairs else 1
    groups = ceil(simd / group)
    leaves = groups * (w_bits if pairs else 1)
    bits = group.bit_length() if agree else a_bits + group - 1 if pairs else w_bits + 1
    if agree:
        terms = 0.74 * sum(_ones(min(18, simd - 18 * i)) for i in range(groups))
        shared = 0.0
    else:
        terms = bits * leaves
        shared = 0.74 * (a_bits + 1) * groups * (2 if w_bits == 1 else 1) if pairs else 0.0
    # An adder's LUTs choose its terms as well, where that takes few inputs.
    adders = _tree(leaves, bits) - (leaves // 2 * (bits + 1) if pairs else 0)
    passes = mh // pe
    starts = 2.9 * acc_bits * ceil(passes / 64) if passes > 8 else 0.0
    lut = pe * (terms + adders + 1.15 * acc_bits + starts) + shared + 30
    registered = pe * (1.4 * terms + 1.3 * acc_bits) if agree else pe * 1.3 * acc_bits
    beat = simd * a_bits  # registered, and for pairs once more beside their sums
    ff = registered + pe * _tree(leaves, bits) + beat + (2 * beat + groups if pairs else 0) + 40
    weights = rom(mw // simd * passes, pe * simd * w_bits, ram_style)
    ff += 0 if weights.bram18 else pe * simd * w_bits  # a block RAM has that register inside
    return Resources(round(lut), round(ff)) + weights + _kept(2 * mw // simd if mh > pe else 2, beat)


def _kept(words: int, width: int) -> Resources:
    """Return the memory of the vectors that are kept: Yosys takes LUTs up to 64 words, and beyond if it is small."""
    block = words > 64 and words * width > SMALLEST_BLOCK
    return Resources(bram18=bram18(words, width)) if block else lutram(words, width)


def _ones(bits: int) -> int:
    """Return the LUTs that count so many agreements."""
    threes = ceil(bits / 3)
    return 2 * threes + (6 if threes > 1 else 0) + (4 if threes > 2 else 0)


def _tree(leaves: int, bits: int) -> int:
    """Return the bits of all adders in a tree over so many numbers."""
    total = 0
    while leaves > 1:
        leaves, total, bits = ceil(leaves / 2), total + leaves // 2 * (bits + 1), bits + 1
    return total


class LutMvu(Part):
    """Our matrix-vector unit, lut_mvu.sv: keeps two vectors; a finished result with nowhere to go stops every stage."""

    def __init__(self, *, beats: int, passes: int, simd: int, weight_bits: int, act_bits: int) -> None:
        self.beats, self.passes = beats, passes
        # Columns per leaf of the adder tree, registers up to its leaves, leaves for the same columns.
        columns, first = (2, 2) if act_bits > 1 else (18, 4) if weight_bits == 1 else (1, 1)
        planes = weight_bits if act_bits > 1 else 1
        stages = first + (-(-simd // columns) * planes - 1).bit_length()
        self.latency = stages + 2
        self.all, self.top = (1 << stages) - 1, 1 << (stages - 1)  # every register, and the last
        self.capacity = 2 if passes == 1 else 2 * beats
        self.fill = self.ahead = self.beat = self.at = 0
        self.pipe = self.ends = 0  # bit i: register i holds operands; they end a pass
        self.held = False

    def ready(self, sink: bool) -> bool:
        return self.fill < self.capacity

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        result = self.pipe & self.ends & self.top != 0
        if not (result and self.held and not given):
            if given:
                self.held = False
            self.held = self.held or result
            self._fetch()
        self.fill += taken
        self.ahead += taken

    def _fetch(self) -> None:
        fetch = self.ahead > 0
        end = fetch and self.beat == self.beats - 1
        self.pipe = (self.pipe << 1 | fetch) & self.all
        self.ends = (self.ends << 1 | end) & self.all
        if not fetch:
            return
        self.ahead -= 1
        if self.at == self.passes - 1:
            self.fill -= 1
        self.beat = 0 if end else self.beat + 1
        if end:
            self.at = 0 if self.at == self.passes - 1 else self.at + 1
            self.ahead += self.beats if self.at else 0

    def quiet(self) -> int:
        if self.pipe & self.ends & self.top and self.held:
            return FOREVER
        if not self.ahead:
            return 0 if self.pipe else FOREVER
        if self.pipe != self.all or self.ends or not 0 < self.at < self.passes - 1:
            return 0
        return self.beats - 1 - self.beat

    def skip(self, cycles: int) -> None:
        if self.ahead and not (self.pipe & self.ends & self.top and self.held):
            self.beat += cycles
            self.ahead -= cycles

    def state(self) -> tuple[object, ...]:
        return self.fill, self.ahead, self.beat, self.at, self.pipe, self.ends, self.held


OP = LutMvau()
