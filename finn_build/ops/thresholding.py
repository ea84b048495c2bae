"""FINN's thresholds, finn-rtllib's thresholding_axi.sv, with memories that are written from integers.

FINN's own node goes through float32, which is exact up to 2**24 only: an 8-bit layer of 128 x 128 pixels sums up to
2**29.
"""

# ruff: noqa: D102, D107  op.Op and timing.Part say what every method does.

from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from functools import cache, partial
from itertools import chain
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finn_build.costs import SMALLEST_BLOCK, Family, Resources, bram18
from finn_build.ops import requantizer
from finn_build.ops.activation import ATTRIBUTES, UNITS, ActivationOp
from finn_build.ops.op import AXILITE_TIES, Attributes, Folding, Layer, Node, divisors, instance
from finn_build.timing import FOREVER, Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper


class Thresholds(ActivationOp):
    """Counts how many thresholds of its channel a sum reaches; a folding may choose what gives the same integers."""

    op_type = "Thresholding_rtl"

    def node_class(self) -> type:
        return node_class()

    def layer(self, model: "ModelWrapper", inst: Any) -> Layer:
        thresholds = model.get_initializer(inst.onnx_node.input[1])
        return replace(super().layer(model, inst), one_row=thresholds is not None and len(thresholds) == 1)

    def foldings(self, layer: Layer) -> Iterator[Folding]:
        equivalents = requantizer.OP.foldings(layer) if layer.activation != "thresholds" else iter(())
        if layer.activation == "requantize" and layer.factor_bits:
            return equivalents
        return chain(map(Folding, divisors(layer.mh)), equivalents)

    def cycles(self, layer: Layer, folding: Folding) -> int:
        return requantizer.OP.cycles(layer, folding) if folding.digit else super().cycles(layer, folding)

    def build(self, model: "ModelWrapper", node: Any) -> None:
        from qonnx.custom_op.registry import getCustomOp

        if getCustomOp(node).get_nodeattr("unit") != UNITS[0]:
            requantizer.replace(model, node)

    def built_as(self, name: str) -> dict[str, Attributes]:
        return {requantizer.renamed(name): {"unit": "lut"}}

    def cost(self, layer: Layer, folding: Folding, family: Family) -> Resources:
        widths = layer.guesses or (layer.in_bits,)
        if folding.digit:
            possible = [requantizer.OP.cost(replace(layer, in_bits=bits), folding, family) for bits in widths]
        else:
            channels = folding.pe if layer.one_row else layer.mh
            possible = [cost(channels, folding.pe, bits, layer.out_bits, family) for bits in widths]
        return Resources(*map(min if layer.hopeful else max, zip(*map(astuple, possible), strict=True)))

    def handshake(self, inst: Any) -> Callable[[], Part]:
        return partial(Thresholding, bits=int(inst.get_nodeattr("numSteps")).bit_length())

    def instance(self, i: int, node: Node) -> str:
        return instance(i, node, (AXILITE_TIES, "        .in1_V_TVALID(1'b0), .in1_V_TDATA('b0),"))

    def title(self, node: Node, *, number: int, held: int | None) -> str:
        return f"{self.called} {number}: thresholds"


@cache
def node_class() -> type:
    """Return the node that takes the place of FINN's of this name. Imports FINN."""
    from finn.custom_op.fpgadataflow.rtl.thresholding_rtl import Thresholding_rtl as FinnThresholding

    class Thresholding_rtl(FinnThresholding):  # noqa: N801  it has FINN's name
        """Counts thresholds, (channels, 2**bits - 1), of an int64 initializer; of one row, which is of all channels.

        FINN makes a module of PE channels then, whose memories have one channel for each lane.
        """

        def get_nodeattr_types(self) -> dict[str, Any]:
            """Return FINN's, and the integers that may take the place of the thresholds."""
            return {**FinnThresholding.get_nodeattr_types(self), **ATTRIBUTES}

        def generate_params(self, model: "ModelWrapper", path: str) -> None:
            """Write the memory of every lane and stage of the search into the folder `path`."""
            thresholds = model.get_initializer(self.onnx_node.input[1])
            assert thresholds.dtype == np.int64
            words = stage_words(thresholds, pe=self.get_nodeattr("PE"), bits=self.get_input_datatype(1).bitwidth())
            for (lane, stage), lines in words.items():
                file = Path(path) / f"{self.onnx_node.name}_threshs_{lane}_{stage}.dat"
                file.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")

    return Thresholding_rtl


def stage_words(thresholds: NDArray[np.int64], *, pe: int, bits: int) -> dict[tuple[int, int], list[str]]:
    """Return the hexadecimal words of each memory, by lane and stage.

    Stage s of the binary search knows the s highest bits of the count, and compares with the threshold in the middle of
    what is left: word (c << s) + i of a lane belongs to its channel c and those bits i.

    Args:
        thresholds: (channels, 2**n - 1); a single row is every lane's only one.
        pe: lanes; channel c is in lane c % pe.
        bits: of a word [bit], which is a two's complement number.
    """
    thresholds = np.repeat(thresholds, pe, axis=0) if len(thresholds) == 1 else thresholds
    stages = int(thresholds.shape[1]).bit_length()
    digits = -(-bits // 4)
    words: dict[tuple[int, int], list[str]] = {}
    for stage in range(stages):
        span = 2 ** (stages - stage)
        column = np.arange(2**stage) * span + span // 2 - 1
        for lane in range(pe):
            values = thresholds[lane::pe][:, column].ravel().tolist()
            words[lane, stage] = [f"{value % 2**bits:0{digits}x}" for value in values]
    return words


def cost(channels: int, pe: int, acc_bits: int, a_bits: int, family: Family) -> Resources:
    """FINN's thresholds: a pipeline of a_bits comparisons per lane.

    Args:
        channels: of which there are thresholds.
        pe: channels at a time.
        acc_bits: of the input [bit].
        a_bits: of the output [bit]; 2**a_bits - 1 thresholds per channel. Bipolar is 1.
        family: device family.
    """
    total = Resources(lut=40, ff=60)
    for stage in range(a_bits):
        words = (channels // pe) << stage
        if words * acc_bits > SMALLEST_BLOCK:
            lane = Resources(52, 59 + 2 * acc_bits, bram18(words, acc_bits))
        else:
            table = ceil(words / 64) if words > 2 else 0  # fewer need no table: they go into the comparator's LUTs
            lane = Resources(round(acc_bits * (table + 0.75)), 3 * acc_bits)
        total += Resources(pe * lane.lut, pe * lane.ff, pe * lane.bram18)
    return total


class Thresholding(Part):
    """FINN's thresholding.sv: two registers per output bit, a queue that holds whatever is in them, a register."""

    def __init__(self, *, bits: int) -> None:
        self.depth, self.most = 2 * bits, 2 * bits + 3
        self.latency = self.depth + 2
        self.inside = self.pipe = self.queue = 0
        self.held = False

    def ready(self, sink: bool) -> bool:
        return self.inside < self.most

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        pushed = self.pipe >> (self.depth - 1) & 1
        if given or not self.held:
            self.held = self.queue > 0
            self.queue -= self.held
        self.queue += pushed
        self.pipe = (self.pipe << 1 | taken) & ((1 << self.depth) - 1)
        self.inside += taken - given

    def quiet(self) -> int:
        return 0 if self.pipe or (self.queue and not self.held) else FOREVER

    def state(self) -> tuple[object, ...]:
        return self.inside, self.pipe, self.queue, self.held


OP = Thresholds()
