"""Our requantizer: a multiplication, an addition and a shift in place of thresholds, plain RTL.

An activation of n bits is 2**n - 1 thresholds per channel. Where a layer of the network requantizes, a factor and an
addend per channel are enough, and a multiplier per lane: on DSPs, or in LUTs with as many bits of the factor at a time
as there are cycles for.
"""

# ruff: noqa: D102, D107  op.Op and timing.Part say what every method does.

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import product
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contract.requantization import Requantization
from finn_build.costs import Family, RamStyle, Resources, rom
from finn_build.ops.activation import ATTRIBUTES, ActivationOp, folding, layer
from finn_build.ops.op import DOMAIN, Folding, Layer, Node, divisors
from finn_build.ops.own import OwnRtl, memory_lines, put_in_place, wrapper
from finn_build.targets.families import FAMILIES
from finn_build.timing import FOREVER, Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

SOURCE = "requantizer.sv"
PART = 17  # bits of an unsigned factor on a multiplier's narrower input


class Requantizer(ActivationOp):
    """Multiplies, adds, shifts and clips; a node of thresholds becomes one where its folding says so."""

    op_type = "Requantizer_rtl"

    def node_class(self) -> type:
        return node_class()

    def foldings(self, layer: Layer) -> Iterator[Folding]:
        """Yield those in place of thresholds; none where there are no such integers."""
        if not layer.factor_bits:
            return
        units = [(False, digit) for digit in divisors(layer.factor_bits)] + [(True, layer.factor_bits)]
        for pe, (dsp, digit) in product(divisors(layer.mh), units):
            words = _stored(layer, pe) // pe * (layer.factor_bits // digit)
            styles: tuple[RamStyle, ...] = ("distributed", "block") if words > 2 else ("distributed",)
            for style in styles:
                yield Folding(pe, ram_style=style, in_luts=not dsp, digit=digit)

    def cycles(self, layer: Layer, folding: Folding) -> int:
        return layer.vectors * (layer.mh // folding.pe) * (layer.factor_bits // folding.digit)

    def cost(self, layer: Layer, folding: Folding, family: Family) -> Resources:
        channels = _stored(layer, folding.pe)
        return cost(
            channels, folding.pe, layer.in_bits, layer.out_bits, layer.factor_bits, layer.addend_bits, family,
            digit=folding.digit, in_luts=folding.in_luts, ram_style=folding.ram_style,
        )  # fmt: skip

    def handshake(self, inst: Any) -> Callable[[], Part]:
        chosen = folding(inst)
        steps = int(inst.get_nodeattr("FactorBits")) // chosen.digit
        return partial(Requantize, steps=steps, digit=chosen.digit, in_luts=chosen.in_luts)

    def title(self, node: Node, *, number: int, held: int | None) -> str:
        return f"{self.called} {number}: multiply and shift"


def _stored(layer: Layer, pe: int) -> int:
    """Return the channels whose constants are kept: one for each lane where all are alike."""
    return pe if layer.one_factor else layer.mh


def renamed(name: str) -> str:
    """Return what a node of thresholds with this name is called when it is built of multipliers."""
    return f"{Requantizer.op_type}_{name.rpartition('_')[2]}"


def replace(model: "ModelWrapper", node: Any) -> None:
    """Let a node of thresholds be built of multipliers."""
    from onnx import helper
    from qonnx.custom_op.registry import getCustomOp

    inst = getCustomOp(node)
    kept = ("PE", "NumChannels", "numSteps", "inputDataType", "weightDataType", "outputDataType", *ATTRIBUTES)
    values = {name: inst.get_nodeattr(name) for name in kept}
    values["numInputVectors"] = [int(v) for v in inst.get_nodeattr("numInputVectors")]
    values |= {name: [int(v) for v in values[name]] for name in ("factors", "addends")}
    new = helper.make_node(
        Requantizer.op_type, node.input[:1], node.output, name=renamed(node.name), domain=DOMAIN,
        backend="fpgadataflow", ActVal=0, **values,
    )  # fmt: skip
    put_in_place(model, node, new)


@cache
def node_class() -> type:
    """Return the node. Imports FINN."""
    from finn.custom_op.fpgadataflow.rtlbackend import RTLBackend
    from finn.custom_op.fpgadataflow.thresholding import Thresholding

    class Requantizer_rtl(OwnRtl, Thresholding, RTLBackend):  # noqa: N801  FINN tells its RTL nodes by the suffix
        """What a node of thresholds answers, from a factor and an addend per channel. It has no second input."""

        own_sources = (SOURCE,)

        def get_nodeattr_types(self) -> dict[str, Any]:
            """Return the attributes of FINN's node, and the constants."""
            return {**Thresholding.get_nodeattr_types(self), **RTLBackend.get_nodeattr_types(self), **ATTRIBUTES}

        def get_exp_cycles(self) -> int:
            """Return the cycles per image."""
            return int(OP.cycles(layer(self), folding(self)))

        def execute_node(self, context: dict[str, NDArray[Any]], graph: Any) -> None:
            """Compute in int64."""
            node = self.onnx_node
            factor, addend = (np.array(self.get_nodeattr(name), dtype=np.int64) for name in ("factors", "addends"))
            found = Requantization(factor, addend, self.get_nodeattr("shift"), self.get_nodeattr("levels"))
            values = found(np.asarray(context[node.input[0]]).astype(np.int64))
            context[node.output[0]] = values.astype(context[node.input[0]].dtype)

        def _cost(self, fpgapart: str) -> Resources:
            from finn_build.targets.families import family_of

            return OP.cost(layer(self), folding(self), family_of(fpgapart).name)

        def write_module(self, model: "ModelWrapper", folder: Path) -> None:
            """Write the module and the words of its two memories."""
            name, chosen = self.onnx_node.name, folding(self)
            bits, addend_bits = self.get_nodeattr("FactorBits"), layer(self).addend_bits
            alike = chosen.pe if layer(self).one_factor else 1  # a lane for each is a pass, and every pass is the same
            factors, addends = (list(map(int, self.get_nodeattr(key))) * alike for key in ("factors", "addends"))
            files = {
                f"{name}_factors.dat": (factor_words(factors, bits, chosen), chosen.pe * chosen.digit),
                f"{name}_addends.dat": (lane_words(addends, addend_bits, chosen.pe), chosen.pe * addend_bits),
            }
            for file, (words, width) in files.items():
                (folder / file).write_text(memory_lines(words, width), encoding="ascii")
            values: dict[str, object] = {
                "CHANNELS": len(factors),
                "PE": chosen.pe,
                "ACC_BITS": self.get_input_datatype(0).bitwidth(),
                "ACC_SIGNED": int(self.get_input_datatype(0).signed()),
                "FACTOR_BITS": bits,
                "DIGIT": chosen.digit,
                "DSP": int(not chosen.in_luts),
                "ADDEND_BITS": addend_bits,
                "SHIFT": self.get_nodeattr("shift"),
                "OUT_BITS": self.get_output_datatype().bitwidth(),
                "LEVELS": self.get_nodeattr("levels"),
                "FACTOR_FILE": f'"./{name}_factors.dat"',
                "ADDEND_FILE": f'"./{name}_addends.dat"',
                "RAM_STYLE": f'"{chosen.ram_style}"',
            }
            (folder / f"{name}.v").write_text(wrapper(self, "requantizer", values), encoding="ascii")

    return Requantizer_rtl


def lane_words(values: list[int], bits: int, pe: int) -> list[int]:
    """Return a word of `pe` values of `bits` bits for each pass, lane 0 in the low bits."""
    lanes = [values[i : i + pe] for i in range(0, len(values), pe)]
    return [sum((v % 2**bits) << (lane * bits) for lane, v in enumerate(word)) for word in lanes]


def factor_words(factors: list[int], bits: int, folding: Folding) -> list[int]:
    """Return a word for each pass and digit, the lowest digit first."""
    digit = folding.digit
    passes = [factors[i : i + folding.pe] for i in range(0, len(factors), folding.pe)]
    return [
        word
        for lanes in passes
        for place in range(0, bits, digit)
        for word in lane_words([(factor >> place) % 2**digit for factor in lanes], digit, folding.pe)
    ]


def cost(
    channels: int,
    pe: int,
    acc_bits: int,
    out_bits: int,
    factor_bits: int,
    addend_bits: int,
    family: Family,
    *,
    digit: int,
    in_luts: bool,
    ram_style: RamStyle = "auto",
) -> Resources:
    """Our requantizer.

    Args:
        channels: of which there are constants.
        pe: channels at a time.
        acc_bits: of the input [bit].
        out_bits: of the output [bit].
        factor_bits: of a factor [bit].
        addend_bits: of an addend [bit].
        family: device family.
        digit: bits of a factor at a time.
        in_luts: whether the multiplier is made of LUTs.
        ram_style: of the constants.
    """
    serial = digit < factor_bits
    if in_luts:
        pairs, dsp = ceil(digit / 2), 0
        rows = pairs * acc_bits  # each LUT chooses of nothing, x, 2 x and 3 x
        adders = rows + _tree(pairs, acc_bits)
        three = acc_bits + 2 if digit > 1 else 0
        registers = acc_bits + three + (adders if pairs > 1 else 0)
    else:
        parts, halves = ceil(digit / PART), ceil(acc_bits / FAMILIES[family].dsp_port)
        dsp = parts * halves
        adders, three, registers = (parts - 1) * (acc_bits + digit - PART) + parts * (halves - 1) * acc_bits // 2, 0, 0
    lut = adders + 0.75 * three + (2.4 if serial else 1.4) * addend_bits
    ff = registers + addend_bits + (0 if ram_style == "block" else digit + addend_bits)
    memories = _constants(channels // pe * (factor_bits // digit), pe * digit, ram_style)
    memories += _constants(channels // pe, pe * addend_bits, ram_style)
    return Resources(round(pe * lut) + 12, round(pe * ff) + 20, 0, pe * dsp) + memories


def _constants(words: int, width: int, style: RamStyle) -> Resources:
    """Return a memory of constants; of a few words many bits are alike, and one bit of four words is a gate."""
    if style == "distributed" and words <= 16:
        return Resources(lut=min(round(0.7 * width), 2**words))
    return rom(words, width, style)


def _tree(pairs: int, acc_bits: int) -> int:
    """Return the bits of the adders of a product, from the rows of `pairs` of bits on."""
    total, width, step = 0, acc_bits + 2, 2
    while pairs > 1:
        total += pairs // 2 * width
        pairs, width, step = ceil(pairs / 2), width + step, 2 * step
    return total


class Requantize(Part):
    """Our requantizer.sv: a beat, the registers of its product, a result, and one that has nowhere to go."""

    def __init__(self, *, steps: int, digit: int, in_luts: bool) -> None:
        pairs = (digit + 1) // 2
        self.steps, self.stages = steps, 2 if not in_luts else 0 if pairs == 1 else (pairs - 1).bit_length() + 1
        self.latency = steps + self.stages + 2
        self.busy, self.at, self.pipe = False, 0, 0  # bit i of pipe: a last digit is i + 1 registers behind the beat
        self.done = self.held = False

    def ready(self, sink: bool) -> bool:
        return not (self.done and self.held and not sink) and (not self.busy or self.at == self.steps - 1)

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        if self.done and self.held and not given:
            return
        last = self.busy and self.at == self.steps - 1
        pipe = self.pipe << 1 | last
        self.held = self.done or (self.held and not given)
        self.done = bool(pipe >> self.stages & 1)
        self.pipe = pipe & ((1 << self.stages) - 1)
        self.at = 0 if taken or last else self.at + self.busy
        self.busy = taken or (self.busy and not last)

    def quiet(self) -> int:
        if self.done and self.held:
            return FOREVER
        return 0 if self.busy or self.pipe or self.done else FOREVER

    def state(self) -> tuple[object, ...]:
        return self.busy, self.at, self.pipe, self.done, self.held


OP = Requantizer()
