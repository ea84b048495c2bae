"""Our max pool, plain RTL: FINN's needs HLS."""

# ruff: noqa: D102  op.Op says what every method does.

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from finn_build.costs import Family, Resources
from finn_build.ops import reduction
from finn_build.ops.op import Folding, Layer
from finn_build.ops.own import wrapper
from finn_build.ops.reduction import Reduction

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

SOURCE = "max_pool.sv"


class MaxPool(Reduction):
    """The largest of each window."""

    op_type = "MaxPool_rtl"
    called = "Max pool"

    def node_class(self) -> type:
        return node_class()

    def cost(self, layer: Layer, folding: Folding, family: Family) -> Resources:
        return cost(layer.mw // layer.mh, folding.pe, layer.in_bits)


@cache
def node_class() -> type:
    """Return the node. Imports FINN."""
    base: Any = reduction.node_class()

    class MaxPool_rtl(base):  # type: ignore[misc]  # noqa: N801  FINN tells its RTL nodes by the suffix
        """The largest number of each window and channel."""

        own_sources = (SOURCE,)
        op = OP

        def execute_node(self, context: dict[str, NDArray[Any]], graph: Any) -> None:
            """Compute it."""
            node = self.onnx_node
            x = self.windows(context[node.input[0]])
            context[node.output[0]] = x.max(axis=-2).reshape(*x.shape[:-3], -1)

        def write_module(self, model: "ModelWrapper", folder: Path) -> None:
            """Write the module."""
            kind = self.get_input_datatype()
            values: dict[str, object] = {
                "WINDOW": self.get_nodeattr("Window"), "PE": self.get_nodeattr("PE"), "BITS": kind.bitwidth(),
                "SIGNED": int(kind.signed()),
            }  # fmt: skip
            (folder / f"{self.onnx_node.name}.v").write_text(wrapper(self, "max_pool", values), encoding="ascii")

    return MaxPool_rtl


def cost(window: int, pe: int, bits: int) -> Resources:
    """Our max pool.

    Args:
        window: places of a window.
        pe: channels at a time.
        bits: of a number [bit].
    """
    lane = 1.0 if bits == 1 else (2 if bits <= 5 else 2.75) * bits  # a wider comparison takes a carry chain
    return Resources(lut=round(pe * lane) + 6, ff=2 * pe * bits + (window - 1).bit_length() + 1)


OP = MaxPool()
