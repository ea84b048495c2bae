"""What a node of the accelerator costs, as closed formulas that a folding search can call a million times.

The formulas follow the structure of the RTL; their constants are fitted to what Yosys makes of it. `python -m
benchmarks.synthesis` prints how far they are off. They count synthesis, not place and route.
"""

from dataclasses import dataclass
from math import ceil, log2
from typing import Literal

Family = Literal["xc7", "xcup"]  # Yosys' names: 7-series, UltraScale+
RamStyle = Literal["auto", "block", "distributed"]


@dataclass(frozen=True)
class Resources:
    """What a piece of hardware takes from the part."""

    lut: int = 0  # 6-input LUTs, those used as memory or shift register included
    ff: int = 0
    bram18: int = 0  # blocks of 18 Kbit; a RAMB36 is two
    dsp: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        """Return both together."""
        return Resources(self.lut + other.lut, self.ff + other.ff, self.bram18 + other.bram18, self.dsp + other.dsp)


def mvau_rtl(
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
    dsp = simd * ceil(pe / lanes)
    adders = pe * (simd - 1) * (w_bits + a_bits)
    memory = _rom(mw // simd * (mh // pe), pe * simd * w_bits, ram_style)
    replay = _lutram(2 * mw // simd, simd * a_bits)
    return Resources(lut=adders + pe * acc_bits + 60, ff=2 * adders + pe * acc_bits + 100, dsp=dsp) + memory + replay


def dsp_lanes(w_bits: int, a_bits: int, family: Family, *, narrow_weights: bool = True) -> int:
    """Return how many rows share one multiplier (finn-rtllib's mvu.sv)."""
    port = 25 if family == "xc7" else 27
    return 1 if port == w_bits else 1 + (port - (not narrow_weights) - w_bits) // (w_bits + a_bits - 1)


def thresholding(channels: int, pe: int, acc_bits: int, a_bits: int, family: Family) -> Resources:
    """FINN's thresholds: a pipeline of a_bits comparisons per lane.

    Args:
        channels: of the layer.
        pe: channels at a time.
        acc_bits: of the input [bit].
        a_bits: of the output [bit]; 2**a_bits - 1 thresholds per channel. Bipolar is 1.
        family: device family.
    """
    fold = channels // pe
    total = Resources(lut=40, ff=60)
    for stage in range(a_bits):
        table = _rom(fold << stage, acc_bits, "auto")
        lane = Resources(lut=ceil(acc_bits / 2) + acc_bits // 2, ff=3 * acc_bits) + table
        total += Resources(pe * lane.lut, pe * lane.ff, pe * lane.bram18)
    return total


def lut_mvau(
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
) -> Resources:
    """Our matrix-vector unit in LUTs, for 1-bit weights or 1-bit activations; arguments as for `mvau_rtl`."""
    term = 1 if w_bits == a_bits == 1 else max(w_bits, a_bits) + 1
    lut = acc_bits + (term * simd if term > 1 else 0)
    terms, bits = simd, term
    while terms > 1:
        lut, terms, bits = lut + terms // 2 * (bits + 1), ceil(terms / 2), bits + 1
    memory = _rom(mw // simd * (mh // pe), pe * simd * w_bits, ram_style)
    kept = _lutram(2 * mw // simd if mh > pe else 2, simd * a_bits)
    return Resources(lut=pe * lut + 40, ff=pe * lut + 60) + memory + kept


def fifo(depth: int, width_bits: int, family: Family) -> Resources:
    """FINN's StreamingFIFO_rtl of `depth` beats of `width_bits` [bit]."""
    return Resources(lut=10, ff=2 * width_bits + 10) + _lutram(depth, width_bits)


def width_converter(in_bits: int, out_bits: int, family: Family) -> Resources:
    """FINN's StreamingDataWidthConverter_rtl between beats of `in_bits` and `out_bits` [bit]."""
    return Resources(lut=max(in_bits, out_bits) + 10, ff=in_bits + out_bits + 10)


def image_last(in_bits: int, family: Family) -> Resources:
    """Our TLAST unit at the ports of the accelerator, whose input has `in_bits` [bit]."""
    return Resources(lut=60, ff=60)


def _rom(words: int, width: int, style: RamStyle) -> Resources:
    """Return a read-only memory of `words` of `width` bits."""
    if style == "block" or (style == "auto" and words > 128):
        return Resources(bram18=_bram18(words, width))
    return Resources(lut=width * ceil(words / 64))


def _lutram(words: int, width: int) -> Resources:
    """Return a memory in LUTs with one write and one read port: two bits of 32 words per LUT."""
    return Resources(lut=ceil(width / 2) * ceil(words / 32) if words <= 32 else ceil(width * 4 / 3) * ceil(words / 64))


def _bram18(words: int, width: int) -> int:
    """Return 18 Kbit blocks for `words` of `width` bits, as a read-only memory."""
    per_block = {512: 36, 1024: 18, 2048: 9, 4096: 4, 8192: 2, 16384: 1}
    depth = min(16384, max(512, 1 << ceil(log2(words))))
    return ceil(width / per_block[depth]) * ceil(words / 16384)
