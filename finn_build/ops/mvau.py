"""FINN's matrix-vector unit, which multiplies on DSPs, with its memory of weights. From 2 bits on."""

# ruff: noqa: D102, D107  op.Op and timing.Part say what every method does.

import re
from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.errors import ConfigError, ToolError
from finn_build.costs import Family, RamStyle, Resources, levels, lutram, rom
from finn_build.ops import lut_mvau
from finn_build.ops.op import AXILITE_TIES, Attributes, Folding, Layer, Node, instance
from finn_build.ops.product import Product
from finn_build.targets.families import FAMILIES
from finn_build.timing import FOREVER, Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

MEMORY = ("memstream/hdl/memstream.sv", "memstream/hdl/memstream_axi.sv", "axi/hdl/axilite.sv")  # of finn-rtllib


class Mvau(Product):
    """A product on DSPs; a folding may choose LUTs, and then it is built of another op."""

    op_type = "MVAU_rtl"

    def multiplies(self, *, weight_bits: int, act_bits: int) -> bool:
        return weight_bits > 1 and act_bits > 1

    def least_sum(self, *, weight_bits: int, act_bits: int) -> int:
        """Few columns, or weights that do not use their width, may add up to less than a product: FINN refuses that."""
        return weight_bits + act_bits

    def units(self) -> tuple[bool, ...]:
        return (False, True)

    def attributes(self, folding: Folding) -> Attributes:
        return super().attributes(folding) | {"resType": "lut" if folding.in_luts else "dsp"}

    def cost(self, layer: Layer, folding: Folding, family: Family) -> Resources:
        if folding.in_luts:
            return lut_mvau.OP.cost(layer, folding, family)
        return cost(
            layer.mw, layer.mh, folding.pe, folding.simd, layer.weight_bits, layer.in_bits, layer.accu_bits, family,
            ram_style=folding.ram_style, narrow_weights=layer.narrow_weights,
        )  # fmt: skip

    def build(self, model: "ModelWrapper", node: Any) -> None:
        from qonnx.custom_op.registry import getCustomOp

        if getCustomOp(node).get_nodeattr("resType") == "lut":
            lut_mvau.replace(model, node)

    def handshake(self, inst: Any) -> Callable[[], Part]:
        mw, mh, pe, simd = (int(inst.get_nodeattr(key)) for key in ("MW", "MH", "PE", "SIMD"))
        return partial(Mvu, beats=mw // simd, passes=mh // pe, simd=simd)

    def weight_bits(self, inst: Any) -> int:
        if inst.get_nodeattr("mem_mode") != "internal_decoupled":
            raise ConfigError(
                f"{inst.onnx_node.name} has mem_mode {inst.get_nodeattr('mem_mode')}, expected internal_decoupled: "
                "weights live on chip. Remove mem_mode from the folding file."
            )
        return int(inst.get_instream_width_padded(1))

    def sources(self, inst: Any) -> list[Path]:
        from finn.util.settings import get_settings

        library, generated = Path(get_settings().finn_rtllib), Path(inst.get_nodeattr("code_gen_dir_ipgen"))
        memory = [*(library / file for file in MEMORY), generated / f"{inst.onnx_node.name}_memstream_wrapper.v"]
        return super().sources(inst) + memory

    def portable(self, file: str, text: str, node: Node) -> str:
        """Let the weights be found beside the Verilog, wherever that is copied to."""
        if not file.endswith("_memstream_wrapper.v"):
            return text
        text, replaced = re.subn(r'INIT_FILE = "[^"]*"', f'INIT_FILE = "./{node.name}_weights.dat"', text)
        if replaced != 1:
            raise ToolError(
                f"{node.name}'s memstream wrapper names its memory file {replaced} times, expected once. "
                "Reinstall requirements.lock."
            )
        return text

    def instance(self, i: int, node: Node) -> str:
        weights = f"{node.name}_weights"
        memory = (
            f"    wire [{node.weight_bits - 1}:0] {weights}_tdata;",
            f"    wire {weights}_tvalid, {weights}_tready;",
            f"    {node.name}_memstream_wrapper u_{weights} (",
            "        .ap_clk(ap_clk), .ap_clk2x(ap_clk), .ap_rst_n(ap_rst_n),",
            AXILITE_TIES,
            "        .s_axilite_AWPROT(3'b0), .s_axilite_ARPROT(3'b0), .s_axis_0_tvalid(1'b0), .s_axis_0_tdata('b0),",
            f"        .m_axis_0_tready({weights}_tready), .m_axis_0_tvalid({weights}_tvalid), "
            f".m_axis_0_tdata({weights}_tdata)",
            "    );",
        )
        ports = (
            f"        .ap_clk2x(ap_clk), .in1_V_TDATA({weights}_tdata), .in1_V_TVALID({weights}_tvalid),",
            f"        .in1_V_TREADY({weights}_tready),",
        )
        return "\n".join((*memory, instance(i, node, ports)))


def cost(
    mw: int,
    mh: int,
    pe: int,
    simd: int,
    w_bits: int,
    a_bits: int,
    acc_bits: int,
    family: Family,
    *,
    ram_style: RamStyle = "auto",
    narrow_weights: bool = True,
) -> Resources:
    """FINN's multi-bit matrix-vector unit on DSPs, with its weight memory.

    Args:
        mw: columns.
        mh: rows.
        pe: rows at a time.
        simd: columns at a time.
        w_bits: of a signed weight [bit], 2 or more.
        a_bits: of an activation [bit], 2 or more.
        acc_bits: of a result [bit].
        family: device family.
        ram_style: of the weights.
        narrow_weights: the most negative weight does not occur, which packs denser.
    """
    lanes = dsp_lanes(w_bits, a_bits, family, narrow_weights=narrow_weights)
    results, sums = pe * acc_bits, pe * (simd - 1) * (w_bits + a_bits)
    queue = results * max(1, levels(simd))  # one register per stage of the pipeline, whose beats it must hold
    unit = Resources(
        round(4.4 * queue + 1.6 * sums + 1.2 * results) + 94,  # the last: two more places, see portable_rtl.py
        13 * results + 6 * sums + 90,
        0,
        simd * ceil(pe / lanes),
    )
    replay = lutram(mw // simd, simd * a_bits) if mh > pe else Resources()
    return unit + rom(mw // simd * (mh // pe), pe * simd * w_bits, ram_style) + replay


def dsp_lanes(w_bits: int, a_bits: int, family: Family, *, narrow_weights: bool = True) -> int:
    """Return how many rows share one multiplier (finn-rtllib's mvu.sv)."""
    port = FAMILIES[family].dsp_port
    return 1 if port == w_bits else 1 + (port - (not narrow_weights) - w_bits) // (w_bits + a_bits - 1)


class Mvu(Part):
    """FINN's matrix-vector unit: replay_buffer.sv, the pipeline of mvu.sv and the output queue of mvu_vvu_axi.sv.

    The buffer keeps one vector, or up to the next power of two of beats; it takes the next vector's beats only while
    the last pass frees this one's. A result that finds the output register occupied stops the unit until the queue
    behind that register is empty again; results under way still arrive in the queue.
    """

    def __init__(self, *, beats: int, passes: int, simd: int) -> None:
        self.beats, self.passes = beats, passes
        self.depth = 4 + (simd - 1).bit_length() + (simd == 1)  # registers from operands to result
        self.latency = self.depth + 5
        self.capacity = 1 << max(1, (beats - 1).bit_length())
        self.written = self.beat = self.at = 0  # beats of this vector written; next to read: beat, of pass `at`
        self.loaded = self.last = self.lock = self.held = False  # operand register; its pass ends; stopped; output
        self.queue = self.pipe = 0  # results waiting; bit i: a result i registers into the pipeline

    def ready(self, sink: bool) -> bool:
        if self.passes == 1:
            return not self.lock
        freed = self.beat if self.at == self.passes - 1 else 0
        return self.written - freed < self.capacity

    def valid(self) -> bool:
        return self.held

    def step(self, taken: bool, given: bool) -> None:
        ends, running = False, not self.lock
        if self.passes == 1:
            if taken:
                self.beat += 1
                ends = self.beat == self.beats
                if ends:
                    self.beat = 0
        else:
            ends = running and self.loaded and self.last
            if running or not self.loaded:
                self._read()
            self.written += taken
        free = given or not self.held
        if not self.queue:
            self.lock = False
        elif not free:
            self.lock = True
        pushed = self.pipe >> (self.depth - 1) & 1
        if free:
            self.held = self.queue > 0
            self.queue -= self.held
        self.queue += pushed
        self.pipe = (self.pipe << 1 | ends) & ((1 << self.depth) - 1)

    def _read(self) -> None:
        self.loaded = self.beat < self.written
        if not self.loaded:
            return
        self.beat += 1
        self.last = self.beat == self.beats
        if self.last:
            self.beat = 0
            self.at += 1
            if self.at == self.passes:
                self.at = 0
                self.written -= self.beats

    def quiet(self) -> int:
        if self.pipe or (self.queue and not (self.held and self.lock)) or (self.lock and not self.queue):
            return 0
        if self.passes == 1 or self.lock:
            return FOREVER
        if self.beat >= self.written:
            return 0 if self.loaded else FOREVER
        if not self.loaded or self.last or not 0 < self.at < self.passes - 1:
            return 0
        return self.beats - 1 - self.beat

    def skip(self, cycles: int) -> None:
        if self.passes > 1 and not self.lock and self.beat < self.written:
            self.beat += cycles

    def state(self) -> tuple[object, ...]:
        return (
            self.written, self.beat, self.at, self.loaded, self.last, self.lock, self.held, self.queue, self.pipe,
        )  # fmt: skip


OP = Mvau()
