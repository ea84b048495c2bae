"""What our units have in common that make one beat of several: depthwise units, pools, global sums. No op of its own.

They treat each channel for itself, PE of them at a time. What looks at windows takes all places of a window for the
first PE channels, then for the next, as FINN's window generator gives them for depthwise layers: its beats must have as
many channels.
"""

# ruff: noqa: D102, D107  op.Op and timing.Part say what every method does.

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar

from finn_build.ops import own
from finn_build.ops.op import Attributes, Folding, Layer, LayerOp, divisors, vectors
from finn_build.timing import FOREVER, Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper


class Reduction(LayerOp):
    """One result of several numbers of a channel."""

    sizes: ClassVar = {"PE": "NumChannels"}

    def layer(self, model: "ModelWrapper", inst: Any) -> Layer:
        node, places, channels = inst.onnx_node, inst.get_nodeattr("Window"), inst.get_nodeattr("NumChannels")
        bits = inst.get_input_datatype(0).bitwidth(), inst.get_output_datatype().bitwidth()
        elements = places * channels
        return Layer(node.name, node.op_type, elements, channels, *bits, vectors=vectors(inst), as_given=places > 1)

    def foldings(self, layer: Layer) -> Iterator[Folding]:
        yield from map(Folding, divisors(layer.mh))

    def folding(self, inst: Any) -> Folding:
        return Folding(inst.get_nodeattr("PE"))

    def attributes(self, folding: Folding) -> Attributes:
        return {"PE": folding.pe}

    def taken(self, folding: Folding) -> int:
        return folding.pe

    def cycles(self, layer: Layer, folding: Folding) -> int:
        return layer.vectors * (layer.mw // folding.pe)

    def handshake(self, inst: Any) -> Callable[[], Part]:
        return partial(Reduce, beats=inst.get_nodeattr("Window"))

    def activates(self, *, bipolar: bool) -> bool:
        return False


def attributes(channels: int, places: tuple[int, ...], window: int) -> dict[str, Any]:
    """Return the attributes of an unfolded node.

    Args:
        channels: of the image.
        places: of what it gives, down and right; () for one.
        window: places of a window.
    """
    return {"NumChannels": channels, "Window": window, "numInputVectors": [1, *places], "PE": 1}


@cache
def node_class() -> type:
    """Return what the nodes derive from. Imports FINN."""
    from qonnx.core.datatype import DataType

    base: Any = own.node_class()

    class ReductionNode(base):  # type: ignore[misc]
        """A node on windows: (..., places of a window x channels), in the order of the stream, to (..., channels)."""

        op: ClassVar[Reduction]

        def get_nodeattr_types(self) -> dict[str, Any]:
            """Return the attributes."""
            return {
                **super().get_nodeattr_types(),
                "NumChannels": ("i", True, 0),
                "PE": ("i", True, 1),
                "Window": ("i", True, 1),  # places of a window
                "numInputVectors": ("ints", False, [1]),  # vectors of an image that it gives
                "inputDataType": ("s", True, ""),
                "outputDataType": ("s", True, ""),
            }

        def get_input_datatype(self, ind: int = 0) -> Any:
            """Return that of the numbers, or of the weights."""
            return DataType[self.get_nodeattr("weightDataType" if ind else "inputDataType")]

        def get_output_datatype(self, ind: int = 0) -> Any:
            """Return that of the results."""
            return DataType[self.get_nodeattr("outputDataType")]

        def _vectors(self) -> tuple[int, ...]:
            return tuple(map(int, self.get_nodeattr("numInputVectors")))

        def get_normal_input_shape(self, ind: int = 0) -> tuple[int, ...]:
            """Return that of an image."""
            return (*self._vectors(), self.get_nodeattr("Window") * self.get_nodeattr("NumChannels"))

        def get_normal_output_shape(self, ind: int = 0) -> tuple[int, ...]:
            """Return that of an image."""
            return (*self._vectors(), self.get_nodeattr("NumChannels"))

        def get_folded_input_shape(self, ind: int = 0) -> tuple[int, ...]:
            """Return it in beats."""
            *places, elements = self.get_normal_input_shape()
            return (*places, elements // self.get_nodeattr("PE"), self.get_nodeattr("PE"))

        def get_folded_output_shape(self, ind: int = 0) -> tuple[int, ...]:
            """Return it in beats."""
            *places, elements = self.get_normal_output_shape()
            return (*places, elements // self.get_nodeattr("PE"), self.get_nodeattr("PE"))

        def get_instream_width(self, ind: int = 0) -> int:
            """Return the bits of a beat; weights live in the module."""
            return 0 if ind else int(self.get_nodeattr("PE") * self.get_input_datatype().bitwidth())

        def get_outstream_width(self, ind: int = 0) -> int:
            """Return the bits of a beat."""
            return int(self.get_nodeattr("PE") * self.get_output_datatype().bitwidth())

        def windows(self, x: Any) -> Any:
            """Return inputs as (N, ..., groups of channels, places of a window, channels of a group)."""
            pe, places = self.get_nodeattr("PE"), self.get_nodeattr("Window")
            return x.reshape(*x.shape[:-1], -1, places, pe)

    return ReductionNode


class Reduce(Part):
    """Takes `beats` beats for each of its results, of which there are `results` in a row, behind `stages` registers.

    The last ones make a result each, which stops the unit where the one before has nowhere to go.
    """

    def __init__(self, *, beats: int, results: int = 1, stages: int = 0) -> None:
        self.all, self.first, self.stages = beats * results, beats * results - results, stages
        self.latency = stages + 1
        self.at = 0  # the beat that comes next
        self.pipe = self.ends = 0  # bit i: register i holds a beat; it makes a result
        self.held = False

    def _result(self) -> bool:
        """Whether what reaches the output in this cycle, if anything does, is a result."""
        if not self.stages:
            return self.at >= self.first
        return bool(self.pipe & self.ends & (1 << (self.stages - 1)))

    def ready(self, sink: bool) -> bool:
        return not (self._result() and self.held and not sink)

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        result = self._result()
        stopped = result and self.held and not given
        ends = taken and self.at >= self.first
        if not stopped:
            self.held = (result if self.stages else ends) or (self.held and not given)
            mask = (1 << self.stages) - 1
            self.pipe, self.ends = (self.pipe << 1 | taken) & mask, (self.ends << 1 | ends) & mask
        if taken:
            self.at = 0 if self.at == self.all - 1 else self.at + 1

    def quiet(self) -> int:
        return FOREVER if not self.pipe or (self._result() and self.held) else 0

    def state(self) -> tuple[object, ...]:
        return self.at, self.pipe, self.ends, self.held
