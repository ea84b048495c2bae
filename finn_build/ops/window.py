"""FINN's window generator, finn-rtllib's swg: an image in, row by row, and the window of each place out.

It has two forms. One keeps the rows that a window needs in a memory and gives a window over several beats; the other
keeps them in shift registers and line buffers and gives a whole window at once, a place every cycle. A window of one
place is always of the second form. Neither starts with an image before the image before it is done.
"""

# ruff: noqa: D102, D107  op.Op and timing.Part say what every method does.

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from contract.network import Image, Window
from finn_build.costs import Family, RamStyle, Resources, bram18, lutram
from finn_build.ops import pixel_window
from finn_build.ops.op import Attributes, Folding, Layer, LayerOp, Legal, divisors
from finn_build.timing import FOREVER, Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

STYLES = ("distributed", "block")
ONE = (1, 1)


@dataclass(frozen=True)
class Geometry:
    """Windows on an image that is padded already, of `beats` beats a place."""

    image: Image
    window: Window
    beats: int
    depthwise: bool = False  # the channels of a beat come with all of their places, then the next ones'
    parallel: bool = False

    @property
    def registers(self) -> bool:
        """Whether it is of the second form, which FINN takes for windows of one place, too."""
        return self.parallel or self.window.kernel == ONE

    @property
    def span(self) -> int:
        """Beats from the first to the last of a window."""
        (kh, kw), width = self.window.kernel, self.image[1]
        return ((kh - 1) * width + kw) * self.beats

    @property
    def depth(self) -> int:
        """Beats that the memory of the first form holds."""
        (kh, kw), (down, right), width = self.window.kernel, self.window.stride, self.image[1]
        wider, further = (right - 1) - kh * kw, (down - 1) * width - kh * kw
        return self.span + (max(0, wider) + max(0, further)) * self.beats

    @property
    def left_over(self) -> tuple[int, int]:
        """Rows and columns behind the last window."""
        return tuple(  # type: ignore[return-value]
            side - kernel - (places - 1) * stride
            for side, kernel, places, stride in zip(
                self.image, self.window.kernel, self.window.places(self.image), self.window.stride, strict=False
            )
        )

    @property
    def row_step(self) -> int:
        """Beats from the last of a window to the first of the one that begins the next row."""
        (_, kw), (down, _), width = self.window.kernel, self.window.stride, self.image[1]
        return (self.left_over[1] + kw + (down - 1) * width) * self.beats - self.span + 1

    def refusal(self) -> str:
        """Return why FINN's Verilog of this form does not work; empty: it does."""
        (rows, columns), (kh, kw) = self.window.places(self.image), self.window.kernel
        height, width, _ = self.image
        if self.registers:
            loops = [rows, columns, self.beats]
            if kh > 1 < min(height, width) and width - kw < 2:
                return "its line buffers would hold less than two places"
        else:
            loops = [rows, columns, kh, kw, self.beats]
            if abs(self.row_step) > self.depth:
                return "its memory is shorter than the way to the next row of windows"
            if height * width * self.beats < 3:
                return "the image is too small"
        first = next((i for i in range(len(loops) - 1, -1, -1) if loops[i] > 1), 0)
        loops[first] -= 1
        return "" if max(loops) > 1 else "there are too few windows"

    def order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the beat of the image that must be there before each output beat, and from which on beats are needed.

        The second, of the first form, is in order of windows, or where it is depthwise of the beats of a place.
        """
        (rows, columns), (down, right), (kh, kw) = (
            self.window.places(self.image),
            self.window.stride,
            self.window.kernel,
        )
        width, each = self.image[1], np.arange(self.beats)
        starts = np.arange(rows)[:, None] * down * width + np.arange(columns) * right
        if self.registers:
            last = (starts.ravel() + (kh - 1) * width + kw - 1) * self.beats
            return (last[:, None] + each).ravel(), np.empty(0, dtype=np.int64)
        places = starts.reshape(-1, 1) + (np.arange(kh)[:, None] * width + np.arange(kw)).ravel()
        beats = places[:, :, None] * self.beats + each
        starts = starts.ravel() * self.beats
        if self.depthwise:
            beats = beats.transpose(0, 2, 1)
            starts = (starts[:, None] + each).ravel()
        return beats.ravel(), np.append(starts[1:], starts[-1] + self.span - 1)


class SlidingWindow(LayerOp):
    """Gives the window of each place, to a layer's product, a depthwise one or a pool."""

    op_type = "ConvolutionInputGenerator_rtl"
    called = "Window"
    sizes: ClassVar = {"SIMD": "IFMChannels"}
    choices: ClassVar = {"ram_style": STYLES}

    def node_class(self) -> type:
        return node_class()

    def legal(self, inst: Any, *, trained: bool = True) -> dict[str, Legal]:
        found = super().legal(inst, trained=trained) | {"parallel_window": Legal((0, 1))}
        several = pixel_window.choices(_layer(inst))
        return found | ({"Pixels": Legal((1, *several))} if several else {})

    def unbuildable(self, inst: Any, values: Attributes) -> str:
        if int(values.get("Pixels", 1)) > 1:
            ours = self.attributes(pixel_window.OP.folding_of(int(values["Pixels"])))
            other = [f"{name} {value}" for name, value in values.items() if value != ours[name]]
            return f"has {other[0]}, which is of windows that take one pixel at a time" if other else ""
        layer = _layer(inst)
        simd, parallel = (int(values.get(name, inst.get_nodeattr(name))) for name in ("SIMD", "parallel_window"))
        if parallel and simd != layer.mw and not layer.depthwise:
            return f"has SIMD {simd} and parallel_window 1, which takes all {layer.mw} channels at once"
        reason = _geometry(layer, Folding(simd, simd, parallel=bool(parallel))).refusal()
        return f"cannot have SIMD {simd} and parallel_window {parallel}: {reason}" if reason else ""

    def layer(self, model: "ModelWrapper", inst: Any) -> Layer:
        return _layer(inst)

    def foldings(self, layer: Layer) -> Iterator[Folding]:
        """Yield every legal folding: SIMD of the channels at a time, all of a whole window, or several pixels."""
        assert layer.window is not None
        several = layer.window.kernel != ONE
        for simd, parallel in product(divisors(layer.mw), (False, True)):
            if parallel and not (several and (simd == layer.mw)):
                continue
            if _geometry(layer, Folding(simd, simd, parallel=parallel)).refusal():
                continue
            styles: tuple[RamStyle, ...] = ("distributed", "block")
            for style in styles if several and _memories(layer, simd, parallel=parallel) else styles[:1]:
                yield Folding(simd, simd, style, parallel=parallel)
        yield from pixel_window.OP.foldings(layer)

    def folding(self, inst: Any) -> Folding:
        simd, parallel = inst.get_nodeattr("SIMD"), bool(inst.get_nodeattr("parallel_window"))
        return Folding(simd, simd, inst.get_nodeattr("ram_style"), parallel=parallel)

    def attributes(self, folding: Folding) -> Attributes:
        several = pixel_window.OP.attributes(folding) if folding.pixels > 1 else {}
        return {
            "SIMD": folding.simd,
            "ram_style": folding.ram_style,
            "parallel_window": int(folding.parallel),
            **several,
        }

    def taken(self, folding: Folding) -> int:
        return folding.simd * folding.pixels

    def given(self, layer: Layer, folding: Folding) -> int:
        assert layer.window is not None
        kh, kw = layer.window.kernel
        return folding.simd * (kh * kw if folding.parallel else 1)

    def cycles(self, layer: Layer, folding: Folding) -> int:
        if folding.pixels > 1:
            return pixel_window.OP.cycles(layer, folding)
        return cycles(_geometry(layer, folding))

    def cost(self, layer: Layer, folding: Folding, family: Family) -> Resources:
        if folding.pixels > 1:
            return pixel_window.OP.cost(layer, folding, family)
        return cost(_geometry(layer, folding), layer.in_bits * folding.simd, folding.ram_style)

    def build(self, model: "ModelWrapper", node: Any) -> None:
        from qonnx.custom_op.registry import getCustomOp

        if getCustomOp(node).get_nodeattr("Pixels") > 1:
            pixel_window.replace(model, node)

    def handshake(self, inst: Any) -> Callable[[], Part]:
        return partial(part, _geometry(_layer(inst), self.folding(inst)))

    def activates(self, *, bipolar: bool) -> bool:
        """Return False: it moves what another layer gave."""
        return False


def attributes(image: Image, window: Window, *, depthwise: bool = False) -> dict[str, Any]:
    """Return FINN's attributes of a node on an image that is padded already."""
    return {
        "ConvKernelDim": list(window.kernel), "IFMChannels": image[2], "IFMDim": list(image[:2]),
        "OFMDim": list(window.places(image)), "SIMD": 1,
        "Stride": [min(step, side) for step, side in zip(window.stride, image, strict=False)],  # FINN wants no larger
        "Dilation": [1, 1], "depthwise": int(depthwise), "ram_style": "distributed", "parallel_window": 0,
    }  # fmt: skip


def _layer(inst: Any) -> Layer:
    height, width = map(int, inst.get_nodeattr("IFMDim"))
    channels, bits = int(inst.get_nodeattr("IFMChannels")), inst.get_input_datatype().bitwidth()
    return Layer(
        inst.onnx_node.name, inst.onnx_node.op_type, channels, channels, bits, bits, vectors=height * width,
        image=(height, width, channels), window=_window(inst), depthwise=bool(inst.get_nodeattr("depthwise")),
    )  # fmt: skip


def _window(inst: Any) -> Window:
    (kh, kw), (down, right) = (map(int, inst.get_nodeattr(name)) for name in ("ConvKernelDim", "Stride"))
    return Window((kh, kw), (down, right))


def _geometry(layer: Layer, folding: Folding) -> Geometry:
    assert layer.window is not None
    return Geometry(layer.image, layer.window, layer.mw // folding.simd, layer.depthwise, folding.parallel)


def _memories(layer: Layer, simd: int, *, parallel: bool) -> bool:
    """Whether there is a memory whose style makes a difference."""
    assert layer.window is not None
    return not parallel or (layer.window.kernel[0] > 1 and min(layer.image[:2]) > 1)


@cache
def node_class() -> type:
    """Return the node that takes the place of FINN's of this name. Imports FINN."""
    from finn.custom_op.fpgadataflow.rtl.convolutioninputgenerator_rtl import (
        ConvolutionInputGenerator_rtl as FinnGenerator,
    )

    class ConvolutionInputGenerator_rtl(FinnGenerator):  # noqa: N801  it has FINN's name
        """FINN's node, executed on whole batches, in the type that it is given."""

        def get_nodeattr_types(self) -> dict[str, Any]:
            """Return FINN's, and the pixels at a time; of more than one, `pixel_window.py` has the node."""
            return {**FinnGenerator.get_nodeattr_types(self), "Pixels": ("i", False, 1)}

        def get_exp_cycles(self) -> int:
            """Return the cycles per image, exactly."""
            return int(OP.cycles(_layer(self), OP.folding(self)))

        def execute_node(self, context: dict[str, NDArray[Any]], graph: Any) -> None:
            """Give, (N, OH, OW, places x channels), the windows in the order of the output stream."""
            layer, node = _layer(self), self.onnx_node
            assert layer.window is not None
            x = context[node.input[0]]
            seen = np.stack([view for _, _, view in layer.window.seen(x, layer.image)], axis=3)
            if layer.depthwise:
                lanes = self.get_nodeattr("SIMD")
                seen = seen.reshape(*seen.shape[:-1], -1, lanes).swapaxes(3, 4)
            context[node.output[0]] = seen.reshape(*seen.shape[:3], -1)

        def prepare_codegen_default(self) -> Any:
            """Return FINN's constants of the first form."""
            return self._mended(*super().prepare_codegen_default())

        def prepare_codegen_parallel(self) -> Any:
            """Return FINN's constants of the second form."""
            return self._mended(*super().prepare_codegen_parallel())

        def _mended(self, template: str, values: dict[str, list[str]]) -> Any:
            """FINN takes what is left over behind the windows of a row for less than all of these."""
            geometry = _geometry(_layer(self), OP.folding(self))
            needed, _ = geometry.order()
            values["$LAST_WRITE_ELEM$"] = [str(int(needed.max()))]
            columns, width = geometry.left_over[1], geometry.image[1]
            if columns >= width - columns:
                missing = (columns - width % (width - columns)) * geometry.beats
                for name in ("$HEAD_INCR_H$", "$TAIL_INCR_H$"):
                    values[name] = [str(int(values[name][0]) + missing)]
                bits = max(int(values[name][0]).bit_length() + 1 for name in ("$HEAD_INCR_H$", "$TAIL_INCR_H$"))
                values["$INCR_BITWIDTH$"] = [str(max(bits, int(values["$INCR_BITWIDTH$"][0])))]
            return template, values

    return ConvolutionInputGenerator_rtl


def cost(geometry: Geometry, beat: int, ram_style: RamStyle) -> Resources:
    """FINN's window generator for beats of `beat` bits."""
    (kh, kw), (height, width, _) = geometry.window.kernel, geometry.image
    bits = (height * width * geometry.beats - 1).bit_length()  # of the counters of an image's beats
    if not geometry.registers:
        return Resources(lut=60 + 20 * bits, ff=20 + 6 * bits) + _memory(geometry.depth, beat, ram_style)
    total = Resources(lut=max(26 * bits - 85, 40), ff=max(10 * bits - 34, 16) + kh * kw * beat)
    buffers = kh - 1 if min(height, width) > 1 else 0
    return sum((_memory((width - kw) * geometry.beats, beat, ram_style) for _ in range(buffers)), total)


def _memory(words: int, width: int, ram_style: RamStyle) -> Resources:
    """Return a memory, whose output register is inside of a block RAM."""
    return (
        Resources(bram18=bram18(words, width)) if ram_style == "block" else lutram(words, width) + Resources(ff=width)
    )


@lru_cache(maxsize=1 << 12)
def cycles(geometry: Geometry) -> int:
    """Return the cycles per image of a generator that nothing makes wait: those until it is as it was at the start."""
    model, count = part(geometry), 0
    while not count or model.newest >= 0:
        model.step(model.ready(True), model.valid())
        count += 1
    return count


def part(geometry: Geometry) -> "Swg":
    """Return the model of a window generator."""
    return Registers(geometry) if geometry.registers else Memory(geometry)


@lru_cache(maxsize=64)
def _order(geometry: Geometry) -> tuple[list[int], list[int]]:
    needed, needed_from = geometry.order()
    return needed.tolist(), needed_from.tolist()


class Swg(Part):
    """What both forms of the generator have in common."""

    def __init__(self, geometry: Geometry) -> None:
        self.needed, self.needed_from = _order(geometry)
        self.total, height, width = len(self.needed), *geometry.image[:2]
        self.last = height * width * geometry.beats - 1
        self.newest, self.at = -1, 0  # the last beat of this image that came; the output beat that is next
        self.written = False  # all of this image's left


class Memory(Swg):
    """swg_template_default.sv: reads the memory into an output register; a beat may replace one that no window needs.

    Which ones are needed follows from where the next window begins, once the first beat of a window was read.
    """

    latency = 2

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry)
        self.depth = geometry.depth - 1
        kh, kw = geometry.window.kernel
        self.group = kh * kw * (1 if geometry.depthwise else geometry.beats)  # output beats from one start to the next
        self.held = False

    def ready(self, sink: bool) -> bool:
        if self.newest == self.last:
            return False
        if self.at == self.total:
            return True
        oldest = self.newest - self.depth
        if oldest < 0:
            return True
        group = (self.at + self.group - 1) // self.group
        return oldest < self.needed[self.at] and oldest < (self.needed_from[group - 1] if group else 0)

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        fetched = self.at == self.total
        fetch = not fetched and (given or not self.held) and self.needed[self.at] <= self.newest
        self.newest += taken
        done = taken and self.newest == self.last and self.written
        if given and fetched:
            if self.newest == self.last:
                done = True
            else:
                self.written = True
        self.at += fetch
        self.held = fetch or (self.held and not given)
        if done:
            self.newest, self.at, self.written = -1, 0, False

    def quiet(self) -> int:
        return 0 if self.at < self.total and not self.held and self.needed[self.at] <= self.newest else FOREVER

    def state(self) -> tuple[object, ...]:
        return self.newest, self.at, self.written, self.held


class Registers(Swg):
    """swg_template_parallel.sv: everything moves when a beat comes, and one may come when the sink takes the window."""

    latency = 1

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry)
        self.sent = False  # this window left, and the beat that comes with that is still missing

    def ready(self, sink: bool) -> bool:
        if self.newest == self.last:
            return False
        here = self.needed[self.at]
        if not self.written and here < self.newest:
            return False
        return sink or self.sent or self.written or here > self.newest

    def valid(self) -> bool:
        return not self.written and not self.sent and self.needed[self.at] <= self.newest

    def step(self, taken: bool, given: bool) -> None:
        here, complete = self.needed[self.at], self.newest == self.last
        write = not self.written and here <= self.newest
        wrote = given or (write and self.sent)
        read = not complete and (self.written or self.newest <= here)
        self.newest += taken
        done = taken and self.newest == self.last and self.written
        if wrote and self.at == self.total - 1:
            if self.newest == self.last:
                done = True
            else:
                self.written = True
        elif wrote:
            self.at += 1
        self.sent = False if taken or (not read and (wrote or not write)) else self.sent or wrote
        if done:
            self.newest, self.at, self.written = -1, 0, False

    def quiet(self) -> int:
        here = self.needed[self.at]
        read = self.newest < self.last and (self.written or self.newest <= here)
        return 0 if self.sent and not read else FOREVER

    def state(self) -> tuple[object, ...]:
        return self.newest, self.at, self.written, self.sent


OP = SlidingWindow()
