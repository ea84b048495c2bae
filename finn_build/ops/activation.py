"""What activations have in common: FINN's thresholds, and what multiplies and shifts instead. No op of its own.

A graph from integers has nodes of thresholds only. Where a layer of the network requantizes, the node has its factors,
too, and a folding chooses what it is built of.
"""

from typing import TYPE_CHECKING, Any, ClassVar

from contract.requantization import Requantization
from finn_build.ops.op import Attributes, Folding, Layer, LayerOp, Legal, vectors

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

STEP = 4  # factors are filled up to a multiple of so many bits, which has more divisors
MOST_BITS = 64  # of any factor that is ever found
UNITS: tuple[str, ...] = ("thresholds", "dsp", "lut")  # what an activation is built of
# FINN's types of the attributes that say what may take the place of a node of thresholds, and what does.
ATTRIBUTES: dict[str, tuple[Any, ...]] = {
    "factors": ("ints", False, []),  # one a channel, or one for all; empty: there are no such integers
    "addends": ("ints", False, []),
    "shift": ("i", False, 0),
    "levels": ("i", False, 0),  # the largest answer
    "FactorBits": ("i", False, 0),
    "DIGIT": ("i", False, 0),
    "unit": ("s", False, UNITS[0], set(UNITS)),
    "ram_style": ("s", False, "auto", {"auto", "block", "distributed"}),
}


class ActivationOp(LayerOp):
    """Gives the count of the thresholds that a sum reaches."""

    called = "Activation"
    sizes: ClassVar = {"PE": "NumChannels", "DIGIT": "FactorBits"}
    choices: ClassVar = {"unit": UNITS, "ram_style": ("auto", "block", "distributed")}

    def legal(self, inst: Any, *, trained: bool = True) -> dict[str, Legal]:
        """Return what a folding file may say; without integers that multiply, that is thresholds."""
        found = super().legal(inst, trained=trained)
        if trained and not inst.get_nodeattr("FactorBits"):
            why = "no multiplication and shift gives what its thresholds give"
            found |= {"DIGIT": Legal((0,), why), "unit": Legal(UNITS[:1], why)}
        elif not trained:
            found["DIGIT"] = Legal(range(MOST_BITS + 1), "its factors are not known before the training")
        return found

    def idle(self, inst: Any, values: Attributes, *, trained: bool = True) -> str:
        """Return what belongs to a unit that was not chosen."""
        unit, digit = values.get("unit", inst.get_nodeattr("unit")), values.get("DIGIT", 0)
        whole = inst.get_nodeattr("FactorBits") if trained else digit
        in_parts = digit not in (0, whole)  # a build's own file has the whole factor where nothing was asked for
        if unit == UNITS[0] and (in_parts or values.get("ram_style", "auto") != "auto"):
            return f"{'DIGIT' if in_parts else 'ram_style'}, which is of a unit that multiplies: dsp or lut"
        if unit == "dsp" and in_parts:
            return f"DIGIT {digit}, where a dsp takes all {whole} bits of a factor at once"
        return ""

    def layer(self, model: "ModelWrapper", inst: Any) -> Layer:
        """Return a node as the search for a folding sees it."""
        return layer(inst)

    def folding(self, inst: Any) -> Folding:
        """Return that of a node."""
        return folding(inst)

    def attributes(self, folding: Folding) -> Attributes:
        """Return FINN's attributes of a node that is folded so."""
        if not folding.digit:
            return {"PE": folding.pe, "unit": UNITS[0]}
        unit = "lut" if folding.in_luts else "dsp"
        return {"PE": folding.pe, "unit": unit, "DIGIT": folding.digit, "ram_style": folding.ram_style}

    def taken(self, folding: Folding) -> int:
        """Return the elements of an input beat."""
        return folding.pe

    def activates(self, *, bipolar: bool) -> bool:
        """Return True."""
        return True


def layer(inst: Any) -> Layer:
    """Return a node of thresholds, or what took its place, as the search for a folding sees it."""
    factors = inst.get_nodeattr("factors")
    node, bits = inst.onnx_node, (inst.get_input_datatype(0).bitwidth(), inst.get_output_datatype().bitwidth())
    return Layer(
        node.name, node.op_type, 1, inst.get_nodeattr("NumChannels"), *bits,
        factor_bits=inst.get_nodeattr("FactorBits"), addend_bits=signed_bits(inst.get_nodeattr("addends")),
        one_factor=len(factors) == 1, vectors=vectors(inst),
    )  # fmt: skip


def folding(inst: Any) -> Folding:
    """Return that of such a node."""
    unit, pe = inst.get_nodeattr("unit"), inst.get_nodeattr("PE")
    if unit == UNITS[0]:
        return Folding(pe)
    digit = inst.get_nodeattr("FactorBits") if unit == "dsp" else inst.get_nodeattr("DIGIT")
    return Folding(pe, ram_style=inst.get_nodeattr("ram_style"), in_luts=unit == "lut", digit=digit)


def constants(found: Requantization) -> dict[str, Any]:
    """Return the attributes of a node of thresholds that has this equivalent. What all channels have is there once."""
    bits = -(-max(1, int(found.factor.max()).bit_length()) // STEP) * STEP
    alike = (found.factor == found.factor[0]).all() and (found.addend == found.addend[0]).all()
    kept = slice(0, 1 if alike else None)
    return {
        "factors": found.factor[kept].tolist(), "addends": found.addend[kept].tolist(), "shift": found.shift,
        "levels": found.levels, "FactorBits": bits, "DIGIT": bits,
    }  # fmt: skip


def signed_bits(values: list[int]) -> int:
    """Return the bits of a signed number that holds each of `values`, or none of them."""
    return max((1 + (v if v >= 0 else ~v).bit_length() for v in map(int, values)), default=1)
