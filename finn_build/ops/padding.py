"""FINN's padding of images, finn-rtllib's fmpadding.sv. It pads with 0; another value is inverted in, and out again."""

# ruff: noqa: D102, D107  op.Op and timing.Part say what every method does.

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from contract.errors import ToolError
from contract.network import Image, Window
from finn_build.costs import Family, Resources
from finn_build.ops.op import AXILITE_TIES, Attributes, Folding, Layer, LayerOp, Node, divisors, instance
from finn_build.timing import FOREVER, Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper


class Padding(LayerOp):
    """Puts rows and columns of one value around an image."""

    op_type = "FMPadding_rtl"
    called = "Padding"
    sizes: ClassVar = {"SIMD": "NumChannels"}

    def node_class(self) -> type:
        return node_class()

    def layer(self, model: "ModelWrapper", inst: Any) -> Layer:
        return _layer(inst)

    def foldings(self, layer: Layer) -> Iterator[Folding]:
        return (Folding(simd, simd) for simd in divisors(layer.mw))

    def folding(self, inst: Any) -> Folding:
        return Folding(inst.get_nodeattr("SIMD"), inst.get_nodeattr("SIMD"))

    def attributes(self, folding: Folding) -> Attributes:
        return {"SIMD": folding.simd}

    def taken(self, folding: Folding) -> int:
        return folding.simd

    def cycles(self, layer: Layer, folding: Folding) -> int:
        height, width = _padded(layer)
        return height * width * (layer.mw // folding.simd)

    def cost(self, layer: Layer, folding: Folding, family: Family) -> Resources:
        return cost(layer.in_bits * folding.simd)

    def handshake(self, inst: Any) -> Callable[[], Part]:
        layer = _layer(inst)
        assert layer.window is not None
        return partial(
            Fmpadding, image=layer.image, padding=layer.window.padding, beats=layer.mw // self.folding(inst).simd
        )

    def instance(self, i: int, node: Node) -> str:
        return instance(i, node, (AXILITE_TIES,))

    def activates(self, *, bipolar: bool) -> bool:
        """Return False: it moves what another layer gave."""
        return False


def attributes(image: Image, window: Window, fill: int) -> dict[str, Any]:
    """Return the attributes of a node."""
    return {
        "ImgDim": list(image[:2]), "Padding": list(window.padding), "NumChannels": image[2], "SIMD": 1, "fill": fill,
    }  # fmt: skip


def _layer(inst: Any) -> Layer:
    height, width = map(int, inst.get_nodeattr("ImgDim"))
    channels, bits = int(inst.get_nodeattr("NumChannels")), inst.get_input_datatype().bitwidth()
    top, left, bottom, right = map(int, inst.get_nodeattr("Padding"))
    return Layer(
        inst.onnx_node.name, inst.onnx_node.op_type, channels, channels, bits, bits, vectors=height * width,
        image=(height, width, channels), window=Window((1, 1), padding=(top, left, bottom, right)),
    )  # fmt: skip


def _padded(layer: Layer) -> tuple[int, int]:
    assert layer.window is not None
    (top, left, bottom, right), (height, width, _) = layer.window.padding, layer.image
    return top + height + bottom, left + width + right


@cache
def node_class() -> type:
    """Return the node that takes the place of FINN's of this name. Imports FINN."""
    from finn.custom_op.fpgadataflow.rtl.fmpadding_rtl import FMPadding_rtl as FinnPadding
    from qonnx.core.datatype import DataType

    class FMPadding_rtl(FinnPadding):  # noqa: N801  it has FINN's name
        """FINN's node, which pads with the attribute `fill`; executed on whole batches."""

        def get_nodeattr_types(self) -> dict[str, Any]:
            """Return FINN's, and the value."""
            return {**FinnPadding.get_nodeattr_types(self), "fill": ("i", False, 0)}

        def get_input_datatype(self, ind: int = 0) -> Any:
            """Return the type, which need not have a 0."""
            return DataType[self.get_nodeattr("inputDataType")]

        def execute_node(self, context: dict[str, NDArray[Any]], graph: Any) -> None:
            """(N, H, W, C) -> (N, H', W', C)."""
            window, node = _layer(self).window, self.onnx_node
            assert window is not None
            context[node.output[0]] = window.padded(context[node.input[0]], self.get_nodeattr("fill"))

        def generate_hdl(self, model: "ModelWrapper", fpgapart: str, clk: float) -> None:
            """Write FINN's module NAME.v, with the bits of `fill` inverted on both sides."""
            super().generate_hdl(model, fpgapart, clk)
            name = self.get_nodeattr("gen_top_module")
            file = Path(self.get_nodeattr("code_gen_dir_ipgen")) / f"{name}.v"
            file.write_text(filled(file.read_text(encoding="utf-8"), self._bits()), encoding="utf-8")

        def _bits(self) -> str:
            """Return `fill` in all lanes of a beat, as a Verilog number; empty: 0."""
            bits, fill = self.get_input_datatype().bitwidth(), self.get_nodeattr("fill")
            value = int(fill > 0) if self.get_input_datatype().name == "BIPOLAR" else fill % 2**bits
            lanes = self.get_nodeattr("SIMD")
            word = sum(value << (bits * lane) for lane in range(lanes))
            return f"{self.get_instream_width_padded()}'h{word:x}" if word else ""

    return FMPadding_rtl


def filled(text: str, bits: str) -> str:
    """Return FINN's module with these bits inverted before and behind its padding; none where `bits` is empty.

    Raises:
        ToolError: it is not the module that this was written for.
    """
    if not bits:
        return text
    taken, given, end = ".s_axis_tdata(in0_V_TDATA)", ".m_axis_tdata(out0_V_TDATA)", "endmodule"
    if (text.count(taken), text.count(given), text.count(end)) != (1, 1, 1):
        raise ToolError("FINN's module around its padding is not the one that is known. Reinstall requirements.lock.")
    text = text.replace(taken, f".s_axis_tdata(in0_V_TDATA ^ {bits})").replace(given, ".m_axis_tdata(padded)")
    width = bits.partition("'")[0]
    return text.replace(end, f"wire [{width}-1:0] padded;\nassign out0_V_TDATA = padded ^ {bits};\nendmodule")


def cost(beat: int) -> Resources:
    """FINN's padding for beats of `beat` bits."""
    return Resources(lut=round(28 + 1.75 * beat), ff=25 + 2 * beat)


class Fmpadding(Part):
    """FINN's fmpadding.sv: an output register, and one beside it for a beat that came while padding was given."""

    latency = 1

    def __init__(self, *, image: Image, padding: tuple[int, int, int, int], beats: int) -> None:
        top, left, bottom, right = padding
        inside = np.zeros((top + image[0] + bottom, left + image[1] + right, beats), dtype=bool)
        inside[top : top + image[0], left : left + image[1]] = True
        self.inside: list[bool] = inside.ravel().tolist()  # whether each output beat is of the image
        self.at, self.end = 0, len(self.inside) - 1
        self.aside = self.held = False

    def ready(self, sink: bool) -> bool:
        return not self.aside

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        inside, free, there = self.inside[self.at], given or not self.held, taken or self.aside
        self.aside = there and (not free or not inside)
        if free:
            self.held = there or not inside
            if self.held:
                self.at = self.at + 1 if self.at < self.end else 0

    def quiet(self) -> int:
        return 0 if not self.held and (self.aside or not self.inside[self.at]) else FOREVER

    def state(self) -> tuple[object, ...]:
        return self.at, self.aside, self.held


OP = Padding()
