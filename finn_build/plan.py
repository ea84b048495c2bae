"""What hardware a network gets before it is folded: which nodes, and how wide every number is.

A layer is a matrix product and, behind it, thresholds; our unit answers with signs at once. The ops say which of them
multiplies what. In front of what looks at places of an image there is a window for each, and where that reaches beyond
the image, its padding. A plan needs neither FINN nor weights: `foresight.py` makes one before a training,
`hardware_graph.py` writes that of a network that is known.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import ConfigError
from contract.network import Image, IntegerNetwork, Layer, Product, Shape, Window
from finn_build.ops import depthwise, global_sum, max_pool, padding, reduction, thresholding, window
from finn_build.ops.product import product_op

SMALLEST = 2  # bits of a number that is not bipolar: FINN's datatypes of 1 bit have meanings of their own
BIPOLAR = "BIPOLAR"


@dataclass(frozen=True)
class Sizes:
    """A layer without its weights and thresholds: all that its nodes follow from.

    A layer without weights has no `weights`, and its sums are its outputs.
    """

    mw: int  # of a vector
    mh: int
    weights: str  # FINN datatype
    sums: tuple[int, int]  # the least and the greatest
    margins: tuple[int, int]  # the same of a sum less the threshold of its channel; of signs only
    bits: int | None  # of the activation, 1 is bipolar; None: none
    kind: str = "dense"  # of the layer
    image: Image = (1, 1, 1)  # what it reads, if that is an image
    window: Window | None = None  # the places that it looks at
    fill: int = 0  # what stands in their padding

    @property
    def places(self) -> tuple[int, ...]:
        """How many vectors there are, down and right; () where there is one."""
        return () if self.window is None else self.window.places(self.image)


@dataclass(frozen=True)
class Node:
    """One node. The types are FINN's datatypes."""

    kind: str  # `op_type` of its op
    name: str
    mw: int  # inputs of a vector; of thresholds 1
    mh: int  # outputs of a vector, or channels
    source: str  # type of the input
    weights: str  # type of the weights; empty for thresholds
    accumulator: str  # type of the sums, or of the input of thresholds
    result: str  # type of the output
    places: tuple[int, ...] = ()  # vectors of an image, down and right; () where there is one
    attributes: dict[str, Any] = field(default_factory=dict)  # of the node, where its op sets them

    @property
    def shape(self) -> Shape:
        """Of one image's outputs."""
        return (*self.places, self.mh)

    @property
    def fused(self) -> bool:
        """Whether it is a product that answers with signs."""
        return bool(self.weights) and self.result == BIPOLAR


def plan(layers: Sequence[Sizes], source: str) -> list[list[Node]]:
    """Return the nodes of each layer; the first reads numbers of the type `source`."""
    counts = Counter[str]()
    nodes: list[list[Node]] = []
    for sizes in layers:
        if sizes.kind not in KINDS:
            raise ConfigError(f"a layer of the kind {sizes.kind!r} has no hardware yet, expected {' or '.join(KINDS)}.")
        nodes.append([])
        for node in KINDS[sizes.kind](sizes, source):
            source = node.result
            nodes[-1].append(replace(node, name=f"{node.kind}_{counts[node.kind]}"))
            counts[node.kind] += 1
    return nodes


def _product(sizes: Sizes, source: str) -> list[Node]:
    """Return the nodes of a dense layer, or of each place of a convolution, but for their names."""
    bits = {"weight_bits": width(sizes.weights), "act_bits": width(source)}
    op = product_op(**bits)
    product = (op.op_type, "", sizes.mw, sizes.mh, source, sizes.weights)
    room = op.least_sum(**bits)
    if sizes.bits is None:
        # FINN's shell reads whole bytes, and the result stream extends a sign.
        logit = f"INT{-(-max(width(signed_type(*sizes.sums)), room) // 8) * 8}"
        return [Node(*product, logit, logit, sizes.places)]
    if op.signs and sizes.bits == 1:
        # What our unit adds up starts from the threshold, so that the sign of the sum is the answer.
        return [Node(*product, signed_type(*sizes.margins), BIPOLAR, sizes.places)]
    sums = sum_type(sizes, room)
    return [Node(*product, sums, sums, sizes.places), activation(sizes, sums)]


def sum_type(sizes: Sizes, room: int = 0) -> str:
    """Return the type of a layer's sums, of `room` bits at least."""
    sums = integer_type(*sizes.sums)
    return f"{sums.rstrip('0123456789')}{max(width(sums), room)}"


def activation(sizes: Sizes, sums: str) -> Node:
    """Return what makes a layer's outputs of its sums, which are of the type `sums`."""
    result = BIPOLAR if sizes.bits == 1 else f"UINT{sizes.bits}"
    return Node(thresholding.OP.op_type, "", 1, sizes.mh, sums, "", sums, result, sizes.places)


def windows(sizes: Sizes, source: str, *, depthwise: bool = False) -> list[Node]:
    """Return what gives the window of each place: padding and a window generator, as far as they are needed.

    Args:
        sizes: of a layer with a window.
        source: type of what it reads.
        depthwise: whether the layer treats each channel for itself: it comes with all of its places, then the next.
    """
    assert sizes.window is not None
    nodes, (height, width, channels), seen = [], sizes.image, replace(sizes.window, padding=(0, 0, 0, 0))
    top, left, bottom, right = sizes.window.padding
    image = (top + height + bottom, left + width + right, channels)
    if image != sizes.image:
        how = padding.attributes(sizes.image, sizes.window, sizes.fill)
        same = (padding.OP.op_type, "", channels, channels, source, "", source, source)
        nodes.append(Node(*same, image[:2], how))
    if (seen.kernel, seen.stride) == ((1, 1), (1, 1)) or (seen.kernel == image[:2] and not depthwise):
        return nodes  # the image comes in the order of its only window, or of windows of one place
    how, elements = window.attributes(image, seen, depthwise=depthwise), channels * prod(seen.kernel)
    return [*nodes, Node(window.OP.op_type, "", elements, elements, source, "", source, source, sizes.places, how)]


def _convolution(sizes: Sizes, source: str) -> list[Node]:
    return [*windows(sizes, source), *_product(sizes, source)]


def _depthwise(sizes: Sizes, source: str) -> list[Node]:
    op = depthwise.OP.op_type
    sums = signed_type(*sizes.margins) if sizes.bits == 1 else sum_type(sizes)
    result = BIPOLAR if sizes.bits == 1 else sums
    how = reduction.attributes(sizes.mh, sizes.places, sizes.mw) | {
        "weightDataType": sizes.weights,
        "accDataType": sums,
    }
    product = Node(op, "", sizes.mw * sizes.mh, sizes.mh, source, sizes.weights, sums, result, sizes.places, how)
    nodes = [*windows(sizes, source, depthwise=True), product]
    return nodes if result == BIPOLAR or sizes.bits is None else [*nodes, activation(sizes, sums)]


def _max_pool(sizes: Sizes, source: str) -> list[Node]:
    assert sizes.window is not None
    taps = prod(sizes.window.kernel)
    how = reduction.attributes(sizes.mh, sizes.places, taps)
    same = (taps * sizes.mh, sizes.mh, source, "", source, source, sizes.places, how)
    return [*windows(sizes, source, depthwise=True), Node(max_pool.OP.op_type, "", *same)]


def _global_sum(sizes: Sizes, source: str) -> list[Node]:
    height, width, channels = sizes.image
    sums = integer_type(*sizes.sums)
    how = reduction.attributes(channels, (), height * width)
    return [Node(global_sum.OP.op_type, "", prod(sizes.image), channels, source, "", source, sums, (), how)]


# What a layer of each kind is made of: nodes without a name, from what it reads to what it gives.
KINDS: dict[str, Callable[[Sizes, str], list[Node]]] = {
    "dense": _product, "convolution": _convolution, "depthwise": _depthwise, "max_pool": _max_pool,
    "global_sum": _global_sum,
}  # fmt: skip


def input_type(network: IntegerNetwork) -> str:
    """Return the FINN datatype of a network's input."""
    return network.input.datatype.upper()


def network_sizes(network: IntegerNetwork) -> list[Sizes]:
    """Return the sizes of every layer of a network."""
    ranges = zip(network.layers, network.input_ranges(), strict=True)
    return [_layer_sizes(layer, low, high) for layer, (low, high) in ranges]


def _layer_sizes(layer: Layer, low: int, high: int) -> Sizes:
    image, seen = getattr(layer, "image", (1, 1, 1)), getattr(layer, "window", None)
    geometry: dict[str, Any] = {"kind": layer.kind, "image": image, "window": seen, "fill": getattr(layer, "fill", 0)}
    if not isinstance(layer, Product):
        mh = layer.output_shape[-1]
        return Sizes(mh, mh, "", layer.reach(low, high), (0, 0), None, **geometry)
    weights, mh = layer.weights, len(layer.weights)
    mw = weights[0].size
    least, greatest = layer.accumulator_range(low, high)
    sums, margins, bits = (int(least.min()), int(greatest.max())), (0, 0), None
    if layer.thresholds is not None:
        bits = 1 if layer.bipolar else max(SMALLEST, layer.thresholds.shape[1].bit_length())
        if layer.bipolar:
            threshold = layer.thresholds[:, 0]
            margins = int((least - threshold).min()), int((greatest - threshold).max())
    return Sizes(mw, mh, weight_type(weights), sums, margins, bits, **geometry)


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
