"""Our window generator, plain RTL, for images of one channel: 2, 4 or 8 pixels at a time, where FINN's takes one.

A folding of FINN's window chooses it, as many pixels as a rate asks for. It does not pad: an image that is padded comes
one pixel at a time, from FINN's padding.
"""

# ruff: noqa: D102, D107  op.Op and timing.Part say what every method does.

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from math import ceil, gcd, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contract.network import Image, Window
from finn_build.costs import Family, Resources, lutram
from finn_build.ops import own
from finn_build.ops.op import DOMAIN, Attributes, Folding, Layer, LayerOp, Legal
from finn_build.timing import FOREVER, Chain, Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

SOURCE = "pixel_window.sv"
PIXELS = (2, 4, 8)


@dataclass(frozen=True)
class Steps:
    """How windows leave the register of pixel_window.sv, row by row."""

    image: Image
    window: Window
    pixels: int  # of a beat

    @property
    def words(self) -> int:
        """Beats of a row of the image."""
        return self.image[1] // self.pixels

    @property
    def shift(self) -> int:
        """Pixels by which the register moves in a step."""
        return gcd(self.pixels, self.window.stride[1])

    @property
    def behind(self) -> int:
        """Pixels that the register keeps of earlier beats when one comes."""
        return (self.window.kernel[1] - 1) // self.shift * self.shift

    def row(self) -> tuple[list[bool], list[bool]]:
        """Return, for every step of a row of windows, whether it takes a beat, and whether it makes a window."""
        first, each = self.behind // self.shift, self.window.stride[1] // self.shift
        steps = range(first + (self.window.places(self.image)[1] - 1) * each + 1)
        phases = self.pixels // self.shift
        return [step % phases == 0 for step in steps], [step >= first and (step - first) % each == 0 for step in steps]

    def kept(self) -> list[bool]:
        """Return, for every beat of an image, whether windows end in it."""
        (kh, _), (down, _), height = self.window.kernel, self.window.stride, self.image[0]
        used = sum(self.row()[0])
        return [
            row + 1 >= kh and (row + 1 - kh) % down == 0 and word < used
            for row in range(height)
            for word in range(self.words)
        ]


class PixelWindow(LayerOp):
    """Gives the window of each place, all of it at once; a node of FINN's becomes one where its folding says so."""

    op_type = "PixelWindow_rtl"
    called = "Window"

    def node_class(self) -> type:
        return node_class()

    def legal(self, inst: Any, *, trained: bool = True) -> dict[str, Legal]:
        return {"Pixels": Legal(choices(_layer(inst)), "they must divide a row of the image")}

    def layer(self, model: "ModelWrapper", inst: Any) -> Layer:
        return _layer(inst)

    def foldings(self, layer: Layer) -> Iterator[Folding]:
        """Yield those in place of FINN's."""
        yield from map(self.folding_of, choices(layer))

    def folding_of(self, pixels: int) -> Folding:
        """Return that of so many pixels at a time."""
        return Folding(1, 1, "distributed", parallel=True, pixels=pixels)

    def folding(self, inst: Any) -> Folding:
        return self.folding_of(inst.get_nodeattr("Pixels"))

    def attributes(self, folding: Folding) -> Attributes:
        return {"Pixels": folding.pixels}

    def taken(self, folding: Folding) -> int:
        return folding.pixels

    def given(self, layer: Layer, folding: Folding) -> int:
        assert layer.window is not None
        return prod(layer.window.kernel)

    def cycles(self, layer: Layer, folding: Folding) -> int:
        return cycles(_steps(layer, folding))

    def cost(self, layer: Layer, folding: Folding, family: Family) -> Resources:
        return cost(_steps(layer, folding), layer.in_bits)

    def handshake(self, inst: Any) -> Callable[[], Part]:
        return partial(Windows, _steps(_layer(inst), self.folding(inst)))

    def activates(self, *, bipolar: bool) -> bool:
        """Return False: it moves what another layer gave."""
        return False


def choices(layer: Layer) -> tuple[int, ...]:
    """Return how many pixels of what a window looks at can come at a time, but for one."""
    return tuple(p for p in PIXELS if layer.image[1] % p == 0) if layer.image[2] == 1 and not layer.depthwise else ()


def replace(model: "ModelWrapper", node: Any) -> None:
    """Let a node of FINN's windows be ours. It keeps its name."""
    from onnx import helper
    from qonnx.custom_op.registry import getCustomOp

    inst = getCustomOp(node)
    sizes = {name: list(map(int, inst.get_nodeattr(name))) for name in ("IFMDim", "ConvKernelDim", "Stride")}
    kept = {name: inst.get_nodeattr(name) for name in ("Pixels", "inputDataType", "outputDataType")}
    new = helper.make_node(
        PixelWindow.op_type, node.input, node.output, name=node.name, domain=DOMAIN, backend="fpgadataflow", **sizes,
        **kept,
    )  # fmt: skip
    own.put_in_place(model, node, new)


def _layer(inst: Any) -> Layer:
    height, width = map(int, inst.get_nodeattr("IFMDim"))
    (kh, kw), (down, right) = (map(int, inst.get_nodeattr(name)) for name in ("ConvKernelDim", "Stride"))
    bits = inst.get_input_datatype().bitwidth()
    return Layer(
        inst.onnx_node.name, inst.onnx_node.op_type, 1, 1, bits, bits, vectors=height * width, image=(height, width, 1),
        window=Window((kh, kw), (down, right)),
    )  # fmt: skip


def _steps(layer: Layer, folding: Folding) -> Steps:
    assert layer.window is not None
    return Steps(layer.image, layer.window, folding.pixels)


@cache
def node_class() -> type:
    """Return the node. Imports FINN."""
    from qonnx.core.datatype import DataType

    base: Any = own.node_class()

    class PixelWindow_rtl(base):  # type: ignore[misc]  # noqa: N801  FINN tells its RTL nodes by the suffix
        """(N, H, W, 1) to (N, OH, OW, places of a window), `Pixels` of a row at a time."""

        own_sources = (SOURCE,)
        op = OP

        def get_nodeattr_types(self) -> dict[str, Any]:
            """Return the attributes; those of FINN's windows have FINN's names."""
            return {
                **super().get_nodeattr_types(),
                "IFMDim": ("ints", True, []),
                "ConvKernelDim": ("ints", True, []),
                "Stride": ("ints", True, []),
                "Pixels": ("i", True, 2),
                "inputDataType": ("s", True, ""),
                "outputDataType": ("s", True, ""),
            }

        def get_input_datatype(self, ind: int = 0) -> Any:
            """Return that of the pixels."""
            return DataType[self.get_nodeattr("inputDataType")]

        def get_output_datatype(self, ind: int = 0) -> Any:
            """Return the same."""
            return self.get_input_datatype()

        def get_normal_input_shape(self, ind: int = 0) -> tuple[int, ...]:
            """Return that of an image."""
            return (1, *_layer(self).image)

        def get_normal_output_shape(self, ind: int = 0) -> tuple[int, ...]:
            """Return that of an image's windows."""
            layer = _layer(self)
            assert layer.window is not None
            return (1, *layer.window.places(layer.image), prod(layer.window.kernel))

        def get_folded_input_shape(self, ind: int = 0) -> tuple[int, ...]:
            """Return it in beats."""
            height, width, _ = _layer(self).image
            pixels = self.get_nodeattr("Pixels")
            return (1, height, width // pixels, pixels)

        def get_folded_output_shape(self, ind: int = 0) -> tuple[int, ...]:
            """Return it in beats, which are whole windows."""
            return self.get_normal_output_shape()

        def get_instream_width(self, ind: int = 0) -> int:
            """Return the bits of a beat."""
            return int(self.get_folded_input_shape()[-1] * self.get_input_datatype().bitwidth())

        def get_outstream_width(self, ind: int = 0) -> int:
            """Return the bits of a beat."""
            return int(self.get_folded_output_shape()[-1] * self.get_input_datatype().bitwidth())

        def execute_node(self, context: dict[str, NDArray[Any]], graph: Any) -> None:
            """Give the windows in the order of the output stream."""
            layer, node = _layer(self), self.onnx_node
            assert layer.window is not None
            views = [view for _, _, view in layer.window.seen(context[node.input[0]], layer.image)]
            context[node.output[0]] = np.concatenate(views, axis=3)

        def write_module(self, model: "ModelWrapper", folder: Path) -> None:
            """Write the module."""
            layer = _layer(self)
            values = parameters(_steps(layer, OP.folding(self)), layer.in_bits)
            (folder / f"{self.onnx_node.name}.v").write_text(
                own.wrapper(self, "pixel_window", values), encoding="ascii"
            )

    return PixelWindow_rtl


def parameters(steps: Steps, bits: int) -> dict[str, object]:
    """Return the parameters of pixel_window.sv for pixels of so many bits."""
    (height, width, _), (kh, kw), (down, right) = steps.image, steps.window.kernel, steps.window.stride
    return {
        "HEIGHT": height, "WIDTH": width, "KERNEL_H": kh, "KERNEL_W": kw, "STRIDE_H": down, "STRIDE_W": right,
        "PIXELS": steps.pixels, "BITS": bits,
    }  # fmt: skip


@cache
def cycles(steps: Steps) -> int:
    """Return the cycles per image if nothing makes it wait: its beats, or the steps of its rows of windows.

    Where there are as many of the one as of the other, a queue of one row does not always bridge the first rows of the
    next image.
    """
    return ceil(Chain([Windows(steps)], results=prod(steps.window.places(steps.image))).interval(None))


def cost(steps: Steps, bits: int) -> Resources:
    """Our window generator for pixels of `bits` bits."""
    rows, across = steps.window.kernel[0], steps.behind + steps.pixels
    counters = 4 * steps.words.bit_length() + 2 * steps.image[0].bit_length() + 2 * len(steps.row()[0]).bit_length()
    either = (steps.pixels - steps.shift) * rows * bits  # of the register: a new pixel, or one that is moved
    memories = lutram(steps.words, (rows - 1) * steps.pixels * bits) + lutram(steps.words, rows * steps.pixels * bits)
    return Resources(lut=round(1.5 * counters) + either, ff=counters + across * rows * bits) + memories


class Windows(Part):
    """pixel_window.sv: a queue of columns, as long as a row, and a register out of which windows leave."""

    latency = 2

    def __init__(self, steps: Steps) -> None:
        loads, windows = steps.row()
        self.kept, self.loads, self.windows = steps.kept(), loads, windows
        self.beats, self.steps, self.depth = len(self.kept), len(loads), max(2, steps.words)
        self.at = self.step_at = self.fill = 0  # the beat and the step that come next; columns in the queue
        self.held = False

    def ready(self, sink: bool) -> bool:
        return not (self.kept[self.at] and self.fill == self.depth)

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        load = self.loads[self.step_at]
        go = (given or not self.held) and (not load or self.fill > 0)
        self.fill += (taken and self.kept[self.at]) - (go and load)
        if go:
            self.held = self.windows[self.step_at]
            self.step_at = self.step_at + 1 if self.step_at < self.steps - 1 else 0
        else:
            self.held = self.held and not given
        if taken:
            self.at = self.at + 1 if self.at < self.beats - 1 else 0

    def quiet(self) -> int:
        return 0 if not self.held and (not self.loads[self.step_at] or self.fill > 0) else FOREVER

    def state(self) -> tuple[object, ...]:
        return self.at, self.step_at, self.fill, self.held


OP = PixelWindow()
