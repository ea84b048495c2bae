"""Find a multiplication, an addition and a shift that give exactly what a layer's thresholds give.

The thresholds of a uniform quantizer are an arithmetic progression, rounded. So the count of reached thresholds often
is the clipped floor of a straight line, and integers m, b, s exist with

    #{ l : acc >= t[l] }  ==  clip((acc * m + b) >> s, 0, L)        for every accumulator the layer can reach.

With s given, each threshold bounds b from both sides by a line in m:

    acc >= t[l]  =>  (acc * m + b) >> s >= l      l * 2**s - t[l] * m  <=  b
    acc <  t[l]  =>  (acc * m + b) >> s <  l      b  <  l * 2**s - (t[l] - 1) * m

The highest lower bound is a convex function of m, the lowest upper bound a concave one. Their distance is convex, so
bisection finds where it is smallest, and whether any integer m leaves room for a b. Nothing is fitted or rounded. What
one shift can do, every larger one can: with 2 * m and 2 * b. For any gain, m has about as many bits as a sum.

Export looks for them once, and they are part of the network from then on. A sign stays a threshold: nothing is smaller.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.errors import MismatchError
from contract.network import IntegerNetwork, Product
from contract.requantization import (
    LARGEST_PRODUCT,
    MOST_LEVELS,
    MOST_THRESHOLDS,
    Integers,
    Requantization,
    largest_factors,
    largest_shift,
)

BUG = "a multiplication and a shift are not what their thresholds are. This is a bug: report it."
FREE = LARGEST_PRODUCT  # a bound that nothing sets
P = TypeVar("P", bound=Product)
REACH = 1 << 40  # accumulators and thresholds beyond are not looked at, so that int64 holds every bound


def requantized(network: IntegerNetwork) -> IntegerNetwork:
    """Return the same function; its activations of several levels multiply and shift where integers do so exactly.

    All thresholds of every channel are compared. Raises MismatchError.
    """
    layers = zip(network.layers, network.input_ranges(), strict=True)
    made = (_requantized(layer, *ends) if isinstance(layer, Product) else layer for layer, ends in layers)
    return replace(network, layers=tuple(made))


def _requantized(layer: P, low: int, high: int) -> P:
    if layer.thresholds is None or layer.bipolar or layer.thresholds.size > MOST_THRESHOLDS:
        return layer
    least, greatest = layer.accumulator_range(low, high)
    found = _of_all_channels(layer, low, high) or requantization(layer.thresholds, least, greatest)
    if found is None:
        return layer
    made = layer.requantized(found, low, high)
    assert made.thresholds is not None
    if not np.array_equal(made.thresholds, layer.thresholds.clip(least[:, None], greatest[:, None] + 1)):
        raise MismatchError(BUG)
    return made


def _of_all_channels(layer: Product, low: int, high: int) -> Requantization | None:
    """Return a factor and an addend that do for every channel, so that hardware can store them once; None without."""
    row, channels = layer.one_row(low, high), len(layer.weights)
    if row is None:
        return None
    least, greatest = layer.accumulator_range(low, high)
    found = requantization(row, least.min(keepdims=True), greatest.max(keepdims=True))
    if found is None:
        return None
    return replace(found, factor=np.repeat(found.factor, channels), addend=np.repeat(found.addend, channels))


def requantization(thresholds: Integers, least: Integers, greatest: Integers) -> Requantization | None:
    """Return the equivalent of `thresholds` with the smallest shift, and in it the smallest factors; None without one.

    Args:
        thresholds: (C, L) accumulator LSBs, ascending along axis 1.
        least: (C,) the smallest accumulator that each channel can reach.
        greatest: (C,) the largest.

    Raises:
        MismatchError: what was found is no equivalent.
    """
    levels = thresholds.shape[1]
    if levels > MOST_LEVELS or least.min() < -REACH or greatest.max() > REACH:
        return None
    thresholds = thresholds.clip(least[:, None], greatest[:, None] + 1)
    bounds = _Bounds(thresholds, least, greatest)
    shift = _smallest_shift(bounds)
    if shift is None:
        return None
    found = Requantization(*bounds.smallest(shift), shift, levels)
    if not same(found, thresholds, least, greatest).all():
        raise MismatchError(BUG)
    return found


def _smallest_shift(bounds: "_Bounds") -> int | None:
    """Return the smallest shift at which every channel has an m and a b.

    What one shift can do, every larger one can, until a channel is so steep that its m is beyond what is looked at.
    """
    low, high = 0, largest_shift(len(bounds.level))
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if bounds.enough(middle) else (middle + 1, high)
    return low if bounds.feasible(low) else None


def at_shift(
    thresholds: Integers, least: Integers, greatest: Integers, shift: int
) -> tuple[Integers, Integers, NDArray[np.bool_]]:
    """Return the smallest factors and addends of one shift, (C,), and which channels have them.

    The arguments are those of `requantization`, and within its limits.
    """
    bounds = _Bounds(thresholds.clip(least[:, None], greatest[:, None] + 1), least, greatest)
    factor, addend = bounds.smallest(shift)
    return factor, addend, bounds.excess(factor, shift) <= 0


def same(found: Requantization, thresholds: Integers, least: Integers, greatest: Integers) -> NDArray[np.bool_]:
    """Tell of each channel, (C,), whether it answers what thresholds do, for every accumulator that it can reach.

    Both are steps that never fall, so it is enough to look where a level begins. Arguments as of `requantization`.
    """
    equal = np.ones(len(thresholds), dtype=bool)
    for acc in (thresholds, thresholds - 1, least[:, None], greatest[:, None]):
        places = acc.clip(least[:, None], greatest[:, None])
        counts = np.stack([np.searchsorted(t, p, side="right") for t, p in zip(thresholds, places, strict=True)])
        equal &= (counts == found(places.T).T).all(axis=1)
    return equal


class _Bounds:
    """What the thresholds ask of b, as functions of m. All of (C,)."""

    def __init__(self, thresholds: Integers, least: Integers, greatest: Integers) -> None:
        self.first, self.last = least[:, None], greatest[:, None]
        self.level = np.arange(1, thresholds.shape[1] + 1)
        # The smallest accumulator that reaches each level, and the largest that does not; in reach or just outside.
        self.reached, self.missed = thresholds, thresholds - 1
        self.can_reach, self.can_miss = self.reached <= self.last, self.missed >= self.first
        self.largest_factor = largest_factors(least, greatest)

    def lower(self, factor: Integers, shift: int) -> Integers:
        """Return the smallest b that reaches every level where it must."""
        bound = (self.level << shift) - self.reached * factor[:, None]
        return np.asarray(np.where(self.can_reach, bound, -2 * FREE).max(axis=1))

    def upper(self, factor: Integers, shift: int) -> Integers:
        """Return the largest b that reaches no level where it must not."""
        bound = (self.level << shift) - 1 - self.missed * factor[:, None]
        return np.asarray(np.where(self.can_miss, bound, 2 * FREE).min(axis=1))

    def excess(self, factor: Integers, shift: int) -> Integers:
        """Return by how much the bounds contradict each other, 0 or less where they do not; convex in `factor`."""
        return self.lower(factor, shift) - self.upper(factor, shift)

    def best_factor(self, shift: int) -> Integers:
        """Return the factors that leave the most room for b."""
        low, high = np.zeros_like(self.largest_factor), self.largest_factor
        while (low < high).any():
            middle = (low + high) // 2
            falls = self.excess(middle + 1, shift) < self.excess(middle, shift)
            low, high = np.where(falls, middle + 1, low), np.where(falls, high, middle)
        return low

    def feasible(self, shift: int) -> bool:
        """Return whether every channel has an m and a b."""
        return bool((self.excess(self.best_factor(shift), shift) <= 0).all())

    def enough(self, shift: int) -> bool:
        """Return whether every channel has, or one would need a larger m than there is: no larger shift helps it."""
        best = self.best_factor(shift)
        lacks = self.excess(best, shift) > 0
        return bool((lacks & (best == self.largest_factor)).any() or not lacks.any())

    def smallest(self, shift: int) -> tuple[Integers, Integers]:
        """Return the smallest factors that leave room for a b, and such b; of channels that are feasible."""
        factor = self._smallest_factor(shift)
        return factor, np.where(self.can_reach.any(axis=1), self.lower(factor, shift), self.upper(factor, shift))

    def _smallest_factor(self, shift: int) -> Integers:
        low, high = np.zeros_like(self.largest_factor), self.best_factor(shift)
        while (low < high).any():
            middle = (low + high) // 2
            enough = self.excess(middle, shift) <= 0
            low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
        return low
