"""What matrix-vector units have in common: FINN's on DSPs, and ours in LUTs. No op of its own."""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from finn_build.costs import RamStyle
from finn_build.ops.op import OPS, Attributes, Folding, Layer, LayerOp, Node, divisors, vectors

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper


def product_op(*, weight_bits: int, act_bits: int) -> "Product":
    """Return what a layer's product of these widths is built of; 1 is bipolar. Of several, the most `special`."""
    products = [op for op in OPS.values() if isinstance(op, Product)]
    able = [op for op in products if op.multiplies(weight_bits=weight_bits, act_bits=act_bits)]
    return max(able, key=lambda op: op.special)


class Product(LayerOp):
    """A layer's product: SIMD of MW columns and PE of MH rows at a time, over weights in a memory."""

    called = "Layer"
    special: ClassVar[int] = 0  # above others that multiply the same widths
    signs: ClassVar[bool] = False  # it can answer with the signs of the sums, less a threshold each
    sizes: ClassVar = {"PE": "MH", "SIMD": "MW"}
    choices: ClassVar = {"ram_style": ("auto", "block", "distributed"), "resType": ("auto", "dsp", "lut")}

    def multiplies(self, *, weight_bits: int, act_bits: int) -> bool:
        """Whether a layer's product of these widths is built of it; 1 is bipolar."""
        raise NotImplementedError

    def least_sum(self, *, weight_bits: int, act_bits: int) -> int:
        """Return the bits that a sum must have, however small it is."""
        return 0

    def layer(self, model: "ModelWrapper", inst: Any) -> Layer:
        """Return a node as the search for a folding sees it."""
        node = inst.onnx_node
        weights, constant = inst.get_input_datatype(1), model.get_initializer(node.input[1])
        return Layer(
            node.name,
            node.op_type,
            inst.get_nodeattr("MW"),
            inst.get_nodeattr("MH"),
            inst.get_input_datatype(0).bitwidth(),
            inst.get_output_datatype().bitwidth(),
            weight_bits=weights.bitwidth(),
            accu_bits=inst.get_accumulator_datatype().bitwidth(),
            narrow_weights=constant is None or bool(constant.min() > weights.min()),
            vectors=vectors(inst),
        )

    def units(self) -> tuple[bool, ...]:
        """DSPs (False) or LUTs (True), where there is a choice."""
        return (False,)

    def foldings(self, layer: Layer) -> Iterator[Folding]:
        """Yield every legal folding. A memory of a word or two is no memory."""
        styles: tuple[RamStyle, ...] = ("distributed", "block")
        for pe, simd in product(divisors(layer.mh), divisors(layer.mw)):
            words = layer.mw // simd * (layer.mh // pe)
            for style, in_luts in product(styles if words > 2 else styles[:1], self.units()):
                yield Folding(pe, simd, style, in_luts)

    def folding(self, inst: Any) -> Folding:
        """Return that of a node."""
        return Folding(inst.get_nodeattr("PE"), inst.get_nodeattr("SIMD"), inst.get_nodeattr("ram_style"))

    def attributes(self, folding: Folding) -> Attributes:
        """Return FINN's attributes of a node that is folded so."""
        return {"PE": folding.pe, "SIMD": folding.simd, "ram_style": folding.ram_style}

    def taken(self, folding: Folding) -> int:
        """Return the elements of an input beat."""
        return folding.simd

    def activates(self, *, bipolar: bool) -> bool:
        """Whether it answers with signs. Bipolar sums do not exist."""
        return bipolar

    def title(self, node: Node, *, number: int, held: int | None) -> str:
        """Return what a picture of the accelerator says of a node."""
        sign = ", sign" if self.activates(bipolar=node.bipolar) else ""
        return f"{self.called} {number}" + (f": {node.takes[-1]:,} to {node.gives[-1]:,}{sign}" if node.takes else "")
