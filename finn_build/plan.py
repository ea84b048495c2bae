"""What hardware a network gets before it is folded: which nodes, and how wide every number is.

A layer is a matrix product and, behind it, thresholds; our unit answers with signs at once. The ops say which of them
multiplies what. A plan needs neither FINN nor weights: `foresight.py` makes one before a training, `hardware_graph.py`
writes that of a network that is known.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.network import Dense, IntegerNetwork
from finn_build.ops import thresholding
from finn_build.ops.product import product_op

SMALLEST = 2  # bits of a number that is not bipolar: FINN's datatypes of 1 bit have meanings of their own
BIPOLAR = "BIPOLAR"


@dataclass(frozen=True)
class Sizes:
    """A layer without its weights and thresholds: all that its nodes follow from."""

    mw: int
    mh: int
    weights: str  # FINN datatype
    sums: tuple[int, int]  # the least and the greatest
    margins: tuple[int, int]  # the same of a sum less the threshold of its channel; of signs only
    bits: int | None  # of the activation, 1 is bipolar; None: the head


@dataclass(frozen=True)
class Node:
    """One node. The types are FINN's datatypes."""

    kind: str  # `op_type` of its op
    name: str
    mw: int  # inputs; of thresholds 1
    mh: int  # outputs, or channels
    source: str  # type of the input
    weights: str  # type of the weights; empty for thresholds
    accumulator: str  # type of the sums, or of the input of thresholds
    result: str  # type of the output

    @property
    def fused(self) -> bool:
        """Whether it is a product that answers with signs."""
        return bool(self.weights) and self.result == BIPOLAR


def plan(layers: Sequence[Sizes], source: str) -> list[list[Node]]:
    """Return the nodes of each layer; the first reads numbers of the type `source`."""
    counts = Counter[str]()
    nodes: list[list[Node]] = []
    for sizes in layers:
        nodes.append([])
        for node in _nodes(sizes, source):
            kind, source = node[0], node[-1]
            nodes[-1].append(Node(kind, f"{kind}_{counts[kind]}", *node[1:]))
            counts[kind] += 1
    return nodes


def _nodes(sizes: Sizes, source: str) -> list[tuple[str, int, int, str, str, str, str]]:
    """Return the fields of one layer's nodes, but for their names."""
    bits = {"weight_bits": width(sizes.weights), "act_bits": width(source)}
    op = product_op(**bits)
    product = (op.op_type, sizes.mw, sizes.mh, source, sizes.weights)
    room = op.least_sum(**bits)
    if sizes.bits is None:
        # FINN's shell reads whole bytes, and the result stream extends a sign.
        logit = f"INT{-(-max(width(signed_type(*sizes.sums)), room) // 8) * 8}"
        return [(*product, logit, logit)]
    if op.signs and sizes.bits == 1:
        # What our unit adds up starts from the threshold, so that the sign of the sum is the answer.
        return [(*product, signed_type(*sizes.margins), BIPOLAR)]
    sums = integer_type(*sizes.sums)
    sums = f"{sums.rstrip('0123456789')}{max(width(sums), room)}"
    activation = BIPOLAR if sizes.bits == 1 else f"UINT{sizes.bits}"
    return [(*product, sums, sums), (thresholding.OP.op_type, 1, sizes.mh, sums, "", sums, activation)]


def input_type(network: IntegerNetwork) -> str:
    """Return the FINN datatype of a network's input."""
    return network.input.datatype.upper()


def network_sizes(network: IntegerNetwork) -> list[Sizes]:
    """Return the sizes of every layer of a network."""
    return [
        _layer_sizes(layer, low, high) for layer, (low, high) in zip(network.dense, network.input_ranges(), strict=True)
    ]


def _layer_sizes(layer: Dense, low: int, high: int) -> Sizes:
    (mh, mw), weights = layer.weights.shape, layer.weights
    least, greatest = layer.accumulator_range(low, high)
    sums, margins, bits = (int(least.min()), int(greatest.max())), (0, 0), None
    if layer.thresholds is not None:
        bits = 1 if layer.bipolar else max(SMALLEST, layer.thresholds.shape[1].bit_length())
        if layer.bipolar:
            threshold = layer.thresholds[:, 0]
            margins = int((least - threshold).min()), int((greatest - threshold).max())
    return Sizes(mw, mh, weight_type(weights), sums, margins, bits)


def weight_type(weights: NDArray[np.int8]) -> str:
    """Return the FINN datatype of a layer's weights: bipolar if all are -1 or +1, else signed, which the RTL reads."""
    return BIPOLAR if (np.abs(weights) == 1).all() else signed_type(int(weights.min()), int(weights.max()))


def width(datatype: str) -> int:
    """Return the bits of a FINN datatype."""
    return 1 if datatype == BIPOLAR else int(datatype.removeprefix("U").removeprefix("INT"))


def signed_type(low: int, high: int) -> str:
    """Return the narrowest signed FINN datatype that holds low..high."""
    return f"INT{max(SMALLEST, 1 + max((low if low >= 0 else ~low).bit_length(), high.bit_length()))}"


def integer_type(low: int, high: int) -> str:
    """Return the narrowest FINN datatype that holds low..high, unsigned where that does."""
    return f"UINT{max(SMALLEST, high.bit_length())}" if low >= 0 else signed_type(low, high)
