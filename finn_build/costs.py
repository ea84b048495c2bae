"""What the parts of a node cost, as closed formulas that a folding search can call a million times.

Those of whole nodes are in `ops/`, each in the file of its op. The formulas follow the structure of the RTL; their
constants are fitted to what Yosys makes of it. `python -m benchmarks.synthesis` prints how far they are off. They count
synthesis, not place and route.
"""

from dataclasses import dataclass
from math import ceil, log2
from typing import Literal

Family = str  # name of a device family, of `targets.families.FAMILIES`
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


def levels(terms: int) -> int:
    """Return the levels of a tree of adders."""
    return (terms - 1).bit_length()


def rom(words: int, width: int, style: RamStyle) -> Resources:
    """Return a read-only memory of `words` of `width` bits."""
    if words <= 2:
        return Resources()
    if style == "block" or (style == "auto" and words * width > SMALLEST_BLOCK):
        return Resources(bram18=bram18(words, width))
    per_table = 0.9 if words <= 64 else 1.05  # of 64 bits; deeper ones need multiplexers as well
    return Resources(lut=round(per_table * width * ceil(words / 64)))


def lutram(words: int, width: int) -> Resources:
    """Return a memory in LUTs with one write and one read port: two bits of 32 words per LUT."""
    return Resources(lut=ceil(width / 2) * ceil(words / 32) if words <= 32 else ceil(width * 4 / 3) * ceil(words / 64))


def bram18(words: int, width: int) -> int:
    """Return 18 Kbit blocks for `words` of `width` bits, as a read-only memory."""
    per_block = {512: 36, 1024: 18, 2048: 9, 4096: 4, 8192: 2, 16384: 1}
    depth = min(16384, max(512, 1 << ceil(log2(words))))
    return ceil(width / per_block[depth]) * ceil(words / 16384)
