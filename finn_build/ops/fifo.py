"""FINN's FIFO, finn-rtllib's fifo.sv. Which streams get one, and how deep, is decided in `finn_build/fifos.py`."""

# ruff: noqa: D102, D107  op.Op and timing.Part say what every method does.

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finn_build.costs import Family, Resources, bram18, lutram
from finn_build.ops.op import Node, Op, beats
from finn_build.timing import FOREVER, Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

SMALLEST = 5  # fifo.sv holds 5 beats, whatever smaller depth it is asked for
LARGEST_IN_LUTS = 257  # beyond, fifo.sv's natural storage is block RAM


class StreamingFifo(Op):
    """Beats that wait."""

    op_type = "StreamingFIFO_rtl"
    called = "FIFO"
    box = "fifo"

    def node_cost(self, model: "ModelWrapper", inst: Any, family: Family) -> Resources:
        return cost(inst.get_nodeattr("depth"), inst.get_instream_width(), family)

    def handshake(self, inst: Any) -> Callable[[], Part]:
        return partial(make_fifo, self.depth(inst))

    def node_cycles(self, model: "ModelWrapper", inst: Any) -> int:
        return beats(inst)[0]

    def settle(self, inst: Any) -> None:
        """Let deep FIFOs be block RAM: small devices lack the UltraRAM that FINN would choose for the deepest."""
        if inst.get_nodeattr("depth") > LARGEST_IN_LUTS:
            inst.set_nodeattr("ram_style", "block")

    def depth(self, inst: Any) -> int:
        return int(inst.get_nodeattr("depth"))

    def sources(self, inst: Any) -> list[Path]:
        """Return the Verilog without FINN's simulation model of an endless FIFO."""
        return [file for file in super().sources(inst) if file.name != "fifo_gauge.sv"]

    def title(self, node: Node, *, number: int, held: int | None) -> str:
        return f"FIFO, {node.depth:,} beats deep, held {held:,} at most" if held is not None else "FIFO, not simulated"


def cost(depth: int, width_bits: int, family: Family) -> Resources:
    """FINN's StreamingFIFO_rtl of `depth` beats of `width_bits` [bit]."""
    beats = max(5, depth)
    if beats > 256:
        return Resources(27, width_bits + 40, bram18(beats, width_bits))
    if beats <= 33 or beats * width_bits <= 512:
        return Resources(round(width_bits * max(1.0, 0.37 * beats)) + 9, beats * width_bits + 6)
    return Resources(22, width_bits + 27) + lutram(beats, width_bits)


def make_fifo(depth: int) -> Part:
    """Return the model of a FIFO as fifo.sv builds it."""
    if depth <= LARGEST_IN_LUTS:
        return Fifo(storage=max(depth - 1, SMALLEST - 1))
    return Fifo(storage=block_storage(depth), registers=2)


def block_storage(depth: int) -> int:
    """Return the words of block RAM that fifo.sv takes: a power of two, or the sum of two."""
    low = (depth - 2).bit_length()
    rest = depth - 1 - (1 << (low - 1))
    high = (rest - 1).bit_length()
    if low > 9 and high < low - 1:
        return (1 << (low - 1)) + (1 << max(high, 1))
    return 1 << low


class Fifo(Part):
    """FINN's fifo.sv: storage, then `registers` that move together; 1, or 2 for block RAM."""

    def __init__(self, *, storage: int, registers: int = 1) -> None:
        self.storage, self.registers, self.latency = storage, registers, 1 + registers
        self.content = self.pipe = 0  # beats stored; bit 0: the register that the storage is read into

    def ready(self, sink: bool) -> bool:
        return self.content < self.storage

    def valid(self) -> bool:
        return self.pipe >> (self.registers - 1) != 0

    def step(self, taken: bool, given: bool) -> None:
        if given or not self.valid():
            drain = self.content > 0
            self.pipe = (self.pipe << 1 | drain) & ((1 << self.registers) - 1)
            self.content -= drain
        self.content += taken

    def quiet(self) -> int:
        return 0 if (self.content or self.pipe) and not self.valid() else FOREVER

    def state(self) -> tuple[object, ...]:
        return self.content, self.pipe


OP = StreamingFifo()
