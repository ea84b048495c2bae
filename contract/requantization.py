"""An activation that multiplies, adds and shifts: what it is, bit by bit, and what keeps it within 64 bits.

    y[n, c] = clip((acc[n, c] * factor[c] + addend[c]) >> shift, 0, levels)

All numbers are integers in two's complement, and >> rounds down. No level falls where a sum rises, so such a layer has
thresholds, too: the smallest sums that reach each level. Where these integers come from: `export.requantization`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# With these, acc * factor + addend is below 2**62 for every sum that a layer can reach: nothing wraps in int64.
LARGEST_PRODUCT = 1 << 60
LARGEST_ADDEND = 1 << 61
OUT_BITS = 16  # of an answer, at most, which is as wide as hardware makes it
MOST_LEVELS = (1 << OUT_BITS) - 1
MOST_THRESHOLDS = 1 << 20  # of a layer: a small file may not ask for much memory
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Requantization:
    """y = clip((acc * factor[c] + addend[c]) >> shift, 0, levels)."""

    factor: Integers  # (C,) m, 0 or more
    addend: Integers  # (C,) b
    shift: int  # s, the same for all channels
    levels: int  # the largest answer

    def __call__(self, acc: Integers) -> Integers:
        """Return (N, C) of sums (N, C): the definition above, in int64."""
        return np.asarray(np.clip((acc * self.factor + self.addend) >> self.shift, 0, self.levels))

    def thresholds(self, least: Integers, greatest: Integers) -> Integers:
        """Return the smallest sums that reach each level, (C, levels).

        A level that all sums reach gets the smallest sum, one that none reaches gets one more than the largest.

        Args:
            least: (C,) the smallest sum that each channel can reach.
            greatest: (C,) the largest.
        """
        first, last = least[:, None], greatest[:, None] + 1
        # What a sum times its factor must come to.
        needed = (np.arange(1, self.levels + 1, dtype=np.int64) << self.shift) - self.addend[:, None]
        rising = -(-needed // np.maximum(self.factor, 1)[:, None])  # rounded up
        constant = np.where(needed <= 0, first, last)
        return np.asarray(np.where(self.factor[:, None] > 0, rising, constant).clip(first, last))

    def require_fitting(self, least: Integers, greatest: Integers) -> None:
        """Stop at numbers that int64 or memory might not hold, or that fall. Raises ValueError; sums as above."""
        if not 1 <= self.levels <= MOST_LEVELS or self.levels * len(self.factor) > MOST_THRESHOLDS:
            raise ValueError(
                f"{len(self.factor)} channels have {self.levels} levels, expected 1 to {MOST_LEVELS}, and "
                f"{MOST_THRESHOLDS} of all channels together at most"
            )
        if not 0 <= self.shift <= largest_shift(self.levels):
            raise ValueError(f"the shift is {self.shift}, expected 0 to {largest_shift(self.levels)}")
        most = largest_factors(least, greatest)
        wrong = np.flatnonzero((self.factor < 0) | (self.factor > most))
        if wrong.size:
            c = wrong[0]
            raise ValueError(
                f"the factor of channel {c} is {self.factor[c]}, expected 0 to {most[c]}; a channel that falls is one "
                "that rises with the signs of its weights changed"
            )
        wrong = np.flatnonzero((self.addend < -LARGEST_ADDEND) | (self.addend > LARGEST_ADDEND))
        if wrong.size:
            raise ValueError(f"the addend of channel {wrong[0]} is {self.addend[wrong[0]]}, expected 62 bits at most")


def largest_shift(levels: int) -> int:
    """Return the largest shift [bit] that leaves every level, shifted back, within `LARGEST_PRODUCT`."""
    return LARGEST_PRODUCT.bit_length() - 1 - levels.bit_length()


def largest_factors(least: Integers, greatest: Integers) -> Integers:
    """Return the largest factor, (C,), whose product with every sum is within `LARGEST_PRODUCT`."""
    return np.asarray(LARGEST_PRODUCT // (1 + np.maximum(abs(least), abs(greatest))))
