"""Our sum of each channel over a whole image, plain RTL: FINN's needs HLS."""

# ruff: noqa: D102  op.Op says what every method does.

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from finn_build.costs import Family, Resources, lutram
from finn_build.ops import reduction
from finn_build.ops.op import Folding, Layer
from finn_build.ops.own import wrapper
from finn_build.ops.reduction import Reduce, Reduction
from finn_build.timing import Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

SOURCE = "global_sum.sv"


class GlobalSum(Reduction):
    """The sum of each channel over all places, whose channels come side by side, as a convolution gives them."""

    op_type = "GlobalSum_rtl"
    called = "Global sum"

    def node_class(self) -> type:
        return node_class()

    def layer(self, model: "ModelWrapper", inst: Any) -> Layer:
        return replace(super().layer(model, inst), as_given=False)

    def cost(self, layer: Layer, folding: Folding, family: Family) -> Resources:
        return cost(layer.mw // layer.mh, layer.mh, folding.pe, layer.in_bits, layer.out_bits)

    def handshake(self, inst: Any) -> Callable[[], Part]:
        results = inst.get_nodeattr("NumChannels") // inst.get_nodeattr("PE")
        return partial(Reduce, beats=inst.get_nodeattr("Window"), results=results)


@cache
def node_class() -> type:
    """Return the node. Imports FINN."""
    base: Any = reduction.node_class()

    class GlobalSum_rtl(base):  # type: ignore[misc]  # noqa: N801  FINN tells its RTL nodes by the suffix
        """The sum of each channel; (N, H, W, channels), of which `Window` places are one image's, to (N, channels)."""

        own_sources = (SOURCE,)
        op = OP

        def execute_node(self, context: dict[str, NDArray[Any]], graph: Any) -> None:
            """Compute it."""
            node = self.onnx_node
            x = context[node.input[0]]
            context[node.output[0]] = x.reshape(len(x), self.get_nodeattr("Window"), -1).sum(axis=1)

        def write_module(self, model: "ModelWrapper", folder: Path) -> None:
            """Write the module."""
            kind = self.get_input_datatype()
            values: dict[str, object] = {
                "PLACES": self.get_nodeattr("Window"), "CHANNELS": self.get_nodeattr("NumChannels"),
                "PE": self.get_nodeattr("PE"), "BITS": kind.bitwidth(), "SIGNED": int(kind.signed()),
                "SUM_BITS": self.get_output_datatype().bitwidth(),
            }  # fmt: skip
            (folder / f"{self.onnx_node.name}.v").write_text(wrapper(self, "global_sum", values), encoding="ascii")

    return GlobalSum_rtl


def cost(places: int, channels: int, pe: int, bits: int, sum_bits: int) -> Resources:
    """Our global sum.

    Args:
        places: of an image.
        channels: of an image.
        pe: channels at a time.
        bits: of a number [bit].
        sum_bits: of a sum [bit].
    """
    folds = channels // pe
    counters = (places - 1).bit_length() + (folds - 1).bit_length()
    kept = lutram(folds, pe * sum_bits) if folds > 2 else Resources(ff=folds * pe * sum_bits)
    adders = (1.2 if folds > 2 else 1.05) * pe * sum_bits
    return Resources(lut=round(adders + 1.5 * counters) + 4, ff=pe * sum_bits + counters + 3) + kept


OP = GlobalSum()
