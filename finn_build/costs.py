"""What a node of the accelerator costs, as closed formulas that a folding search can call a million times.

The formulas follow the structure of the RTL; their constants are fitted to what Yosys makes of it. `python -m
benchmarks.synthesis` prints how far they are off. They count synthesis, not place and route.
"""

from dataclasses import dataclass
from math import ceil, gcd, log2
from typing import Literal

Family = Literal["xc7", "xcup"]  # Yosys' names: 7-series, UltraScale+
RamStyle = Literal["auto", "block", "distributed"]
SMALLEST_BLOCK = 8192  # bits of the smallest memory that Yosys puts into block RAM by itself


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


IMAGE_LAST = Resources(lut=50, ff=45)  # what counts beats at the accelerator's ports to tell where an image ends


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
    results, sums = pe * acc_bits, pe * (simd - 1) * (w_bits + a_bits)
    queue = results * max(1, _levels(simd))  # one register per stage of the pipeline, whose beats it must hold
    unit = Resources(
        round(4.4 * queue + 1.6 * sums + 1.2 * results) + 94,  # the last: two more places, see portable_rtl.py
        13 * results + 6 * sums + 90,
        0,
        simd * ceil(pe / lanes),
    )
    replay = _lutram(mw // simd, simd * a_bits) if mh > pe else Resources()
    return unit + _rom(mw // simd * (mh // pe), pe * simd * w_bits, ram_style) + replay


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
    total = Resources(lut=40, ff=60)
    for stage in range(a_bits):
        words = (channels // pe) << stage
        if words * acc_bits > SMALLEST_BLOCK:
            lane = Resources(52, 59 + 2 * acc_bits, _bram18(words, acc_bits))
        else:
            table = ceil(words / 64) if words > 2 else 0  # fewer need no table: they go into the comparator's LUTs
            lane = Resources(round(acc_bits * (table + 0.75)), 3 * acc_bits)
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
    """Our matrix-vector unit in LUTs; arguments as for `mvau_rtl`, but every width from 1, which is bipolar.

    The terms are those of the header of lut_mvu.sv.
    """
    agree, pairs = w_bits == a_bits == 1, a_bits > 1
    group = min(simd, 18) if agree else min(simd, 2) if pairs else 1
    groups = ceil(simd / group)
    leaves = groups * (w_bits if pairs else 1)
    bits = group.bit_length() if agree else a_bits + group - 1 if pairs else w_bits + 1
    if agree:
        terms = 0.74 * sum(_ones(min(18, simd - 18 * i)) for i in range(groups))
        shared = 0.0
    else:
        terms = bits * leaves
        shared = 0.74 * (a_bits + 1) * groups * (2 if w_bits == 1 else 1) if pairs else 0.0
    # An adder's LUTs choose its terms as well, where that takes few inputs.
    adders = _tree(leaves, bits) - (leaves // 2 * (bits + 1) if pairs else 0)
    passes = mh // pe
    starts = 2.9 * acc_bits * ceil(passes / 64) if passes > 8 else 0.0
    lut = pe * (terms + adders + 1.15 * acc_bits + starts) + shared + 30
    registered = pe * (1.4 * terms + 1.3 * acc_bits) if agree else pe * 1.3 * acc_bits
    beat = simd * a_bits  # registered, and for pairs once more beside their sums
    ff = registered + pe * _tree(leaves, bits) + beat + (2 * beat + groups if pairs else 0) + 40
    rom = _rom(mw // simd * passes, pe * simd * w_bits, ram_style)
    ff += 0 if rom.bram18 else pe * simd * w_bits  # a block RAM has that register inside
    return Resources(round(lut), round(ff)) + rom + _kept(2 * mw // simd if mh > pe else 2, beat)


def _kept(words: int, width: int) -> Resources:
    """Return the memory of the vectors that are kept: Yosys takes LUTs up to 64 words, and beyond if it is small."""
    block = words > 64 and words * width > SMALLEST_BLOCK
    return Resources(bram18=_bram18(words, width)) if block else _lutram(words, width)


def _ones(bits: int) -> int:
    """Return the LUTs that count so many agreements."""
    threes = ceil(bits / 3)
    return 2 * threes + (6 if threes > 1 else 0) + (4 if threes > 2 else 0)


def _tree(leaves: int, bits: int) -> int:
    """Return the bits of all adders in a tree over so many numbers."""
    total = 0
    while leaves > 1:
        leaves, total, bits = ceil(leaves / 2), total + leaves // 2 * (bits + 1), bits + 1
    return total


def _levels(terms: int) -> int:
    return (terms - 1).bit_length()


def fifo(depth: int, width_bits: int, family: Family) -> Resources:
    """FINN's StreamingFIFO_rtl of `depth` beats of `width_bits` [bit]."""
    beats = max(5, depth)
    if beats > 256:
        return Resources(27, width_bits + 40, _bram18(beats, width_bits))
    if beats <= 33 or beats * width_bits <= 512:
        return Resources(round(width_bits * max(1.0, 0.37 * beats)) + 9, beats * width_bits + 6)
    return Resources(22, width_bits + 27) + _lutram(beats, width_bits)


def width_converter(in_bits: int, out_bits: int, family: Family) -> Resources:
    """FINN's StreamingDataWidthConverter_rtl between beats of `in_bits` and `out_bits` [bit]."""
    if out_bits == 1:
        lut = 3.1 * in_bits
    elif in_bits % out_bits == 0:
        lut = in_bits * (1.75 * log2(in_bits / out_bits) - 0.05) + 20
    elif out_bits % in_bits == 0:
        lut = 35 + 1.5 * out_bits / in_bits + 0.1 * out_bits
    elif in_bits < out_bits:  # each beat is put behind what is left of the one before, at one of so many places
        lut = 1.1 * in_bits * (in_bits // gcd(in_bits, out_bits)) + 30
    else:
        lut = 1.35 * in_bits * (out_bits // gcd(in_bits, out_bits)) + 30
    return Resources(lut=round(lut), ff=in_bits + out_bits + 10)


def _rom(words: int, width: int, style: RamStyle) -> Resources:
    """Return a read-only memory of `words` of `width` bits."""
    if words <= 2:
        return Resources()
    if style == "block" or (style == "auto" and words * width > SMALLEST_BLOCK):
        return Resources(bram18=_bram18(words, width))
    per_table = 0.9 if words <= 64 else 1.05  # of 64 bits; deeper ones need multiplexers as well
    return Resources(lut=round(per_table * width * ceil(words / 64)))


def _lutram(words: int, width: int) -> Resources:
    """Return a memory in LUTs with one write and one read port: two bits of 32 words per LUT."""
    return Resources(lut=ceil(width / 2) * ceil(words / 32) if words <= 32 else ceil(width * 4 / 3) * ceil(words / 64))


def _bram18(words: int, width: int) -> int:
    """Return 18 Kbit blocks for `words` of `width` bits, as a read-only memory."""
    per_block = {512: 36, 1024: 18, 2048: 9, 4096: 4, 8192: 2, 16384: 1}
    depth = min(16384, max(512, 1 << ceil(log2(words))))
    return ceil(width / per_block[depth]) * ceil(words / 16384)
