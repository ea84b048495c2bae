"""What the nodes of a file do with a value: elementwise, in float64, in the order of the file's own arithmetic.

Every step keeps the order of values or turns it round, in floating point too, because each operation is rounded
correctly. So where a chain of steps reaches a level is found by bisection, exactly, ties included.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.decision import STEPS
from contract.network import Image

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MAX_LEVELS = 256  # of an activation: 8 bits
MAX_NEAR = 128  # the greatest integer of 8 bits
NEAR_BLOCK = 1 << 16  # weights that are looked at together


class UnsupportedError(Exception):
    """What a node asks for is nothing that integers can be made of; the message ends a sentence about the node."""


@dataclass(frozen=True)
class Step:
    """One node's work on values (E, T) of E elements, or a part of it. A name in contract.decision.STEPS; the
    parameters are (E, 1), or anything that NumPy broadcasts.
    """

    kind: str
    parameters: tuple[Floats, ...]

    def apply(self, x: Floats) -> Floats:
        """Return the values behind it."""
        return np.asarray(STEPS[self.kind](x, *self.parameters), dtype=np.float64)


@dataclass(frozen=True)
class Quantizer:
    """Values become one of a few: `levels`, (E, K), in the order of `index`."""

    apply: Callable[[Floats], Floats]
    index: Callable[[Floats], Integers]
    levels: Floats


@dataclass(frozen=True)
class Maximum:
    """The greatest of each window of an image, channel by channel, in between: it is no work on one value."""

    image: Image
    kernel: tuple[int, int]
    stride: tuple[int, int]


def step(kind: str, *parameters: Floats) -> Step:
    """Return a step that does not quantize."""
    return Step(kind, parameters)


ROUNDING: dict[str, Callable[[Floats], Floats]] = {  # as qonnx has them
    "ROUND": np.round,
    "HALF_EVEN": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.trunc,
    "ROUND_TO_ZERO": np.trunc,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}


@dataclass(frozen=True)
class Grid:
    """The numbers of a Quant node: clip(round(x / scale + zero)) - zero, times scale."""

    scale: Floats
    zero: Floats
    low: Floats
    high: Floats
    rounding: str
    signs: bool = False  # 1 bit and signed: -1 or +1

    def integers(self, x: Floats) -> Floats:
        """Return the integers before the scale is put back."""
        y = x / self.scale + self.zero
        if self.signs:
            return np.where(y >= 0, 1.0, -1.0)
        return np.asarray(ROUNDING[self.rounding](np.minimum(np.maximum(y, self.low), self.high)))

    def values(self, x: Floats) -> Floats:
        """Return what the node gives."""
        return np.asarray((self.integers(x) - self.zero) * self.scale)

    def quantizer(self) -> Quantizer:
        """Return the step. Raises UnsupportedError."""
        low, high = np.atleast_2d(self.low), np.atleast_2d(self.high)
        pace = 2 if self.signs else 1
        count = int((high - low).max()) // pace + 1
        if count < 2:
            raise UnsupportedError(f"gives the one value {float(low.flat[0]):g}, expected two values or more")
        if count > MAX_LEVELS:
            raise UnsupportedError(f"gives {count} values, expected 8 bits at most: {MAX_LEVELS}")
        numbers = np.minimum(low + pace * np.arange(count), high)  # where an element has fewer, the last one again
        levels = (numbers - self.zero) * self.scale
        return Quantizer(self.values, lambda x: ((self.integers(x) - low) // pace).astype(np.int64), np.asarray(levels))


def quant(scale: Floats, zero: Floats, bits: Floats, *, signed: bool, narrow: bool, rounding: str) -> Grid:
    """Return what a QONNX Quant node does. Raises UnsupportedError."""
    if rounding not in ROUNDING:
        raise UnsupportedError(f"rounds by {rounding[:20]!r}, expected one of {', '.join(ROUNDING)}")
    if not (np.isfinite(scale).all() and (scale != 0).all() and np.isfinite(zero).all()):
        raise UnsupportedError("has a scale of 0, or one or a zero point that is no number")
    if not ((bits >= 1) & (bits <= 32) & (bits == np.round(bits))).all():
        raise UnsupportedError(f"has {bits.ravel()[:3]} bits, expected whole numbers from 1 to 32")
    if (zero != np.round(zero)).any():
        raise UnsupportedError("has a zero point that is no integer")
    if bits.size > 1 and (bits == bits.flat[0]).all():
        bits = np.array(bits.flat[0])
    if signed and bits.size > 1 and (bits == 1).any():
        raise UnsupportedError("has 1 bit for some values, which are -1 or +1, and more for others: expected 2 or more")
    if signed and bits.size == 1 and bits.item() == 1:
        return Grid(scale, zero, np.array(-1.0), np.array(1.0), rounding, signs=True)
    low = -(2.0 ** (bits - 1)) + narrow if signed else np.zeros_like(bits)
    high = 2.0 ** (bits - 1) - 1 if signed else 2.0**bits - 1 - narrow
    return Grid(scale, zero, low, high, rounding)


def trunc(
    scale: Floats,
    zero: Floats,
    bits: tuple[Floats, Floats],
    result_scale: Floats | None,
    *,
    signed: bool,
    narrow: bool,
    rounding: str,
) -> Quantizer:
    """Return what a QONNX Trunc node does: round(round(x / scale + zero) / 2**n), its low n bits cut off.

    Args:
        scale: of what it reads.
        zero: its zero point.
        bits: before and behind.
        result_scale: None: version 1 of the node, which neither clips nor has another scale.
        signed: of version 2's result, as `narrow`.
        narrow: without the least integer.
        rounding: a name in ROUNDING.

    Returns:
        A quantizer whose index is -1 or the number of its levels where an input has more bits than it says.

    Raises:
        UnsupportedError: it cannot be exact; says why.
    """
    form = quant(scale, zero, bits[1], signed=signed, narrow=narrow, rounding=rounding)
    if bits[0].size != 1 or bits[1].size != 1 or not 1 <= bits[0].item() <= 32 or bits[0].item() % 1:
        raise UnsupportedError("has bits that are not two whole numbers from 1 to 32")
    if result_scale is None:
        if bits[1].item() > bits[0].item():
            raise UnsupportedError(f"makes {bits[1].item():g} bits of {bits[0].item():g}, expected fewer")
        cut: Floats = np.asarray(2.0 ** (bits[0] - bits[1]))
        result_scale, result_zero = scale, zero
        low, high = -(2.0 ** (bits[1].item() - 1)), 2.0 ** bits[1].item()  # of either sign, and rounded up
    else:
        with np.errstate(invalid="ignore", divide="ignore"):
            cut = np.asarray(2.0 ** np.round(np.log2(result_scale / scale)))
        if not np.isfinite(cut).all() or (cut * scale != result_scale).any() or (cut < 1).any():
            raise UnsupportedError("has an output scale that is not its scale times a power of two, expected one")
        result_zero, low, high = zero / cut, float(np.min(form.low)), float(np.max(form.high))
    clips = result_scale is not scale
    numbers = np.arange(low, high + 1)

    def integers(x: Floats) -> Floats:
        y = np.round(x / scale + zero) / cut
        return np.asarray(ROUNDING[rounding](np.minimum(np.maximum(y, low), high) if clips else y))

    return Quantizer(
        lambda x: np.asarray((integers(x) - result_zero) * result_scale),
        lambda x: np.clip(integers(x) - low, -1, len(numbers)).astype(np.int64),
        np.atleast_2d((numbers - result_zero) * result_scale),
    )


def bipolar(scale: Floats) -> Quantizer:
    """Return what a QONNX BipolarQuant node does. Raises UnsupportedError."""
    if not np.isfinite(scale).all():
        raise UnsupportedError("has a scale that is no number")
    levels = np.atleast_2d(scale) * np.array([-1.0, 1.0])
    return Quantizer(
        lambda x: np.asarray(np.where(x >= 0, scale, -scale), dtype=np.float64),
        lambda x: (x >= 0).astype(np.int64),
        levels,
    )


def multi_threshold(thresholds: Floats, scale: float, bias: float) -> Quantizer:
    """Return what a MultiThreshold node does; thresholds are (E, L), in any order. Raises UnsupportedError."""
    if thresholds.shape[1] >= MAX_LEVELS:
        raise UnsupportedError(f"has {thresholds.shape[1]} thresholds, expected {MAX_LEVELS - 1} at most")
    if not thresholds.shape[1] or np.isnan(thresholds).any():
        raise UnsupportedError("has no threshold, or one that is no number, expected numbers")
    ordered = np.sort(thresholds, axis=1)

    def index(x: Floats) -> Integers:
        return np.stack([np.searchsorted(t, row, side="right") for t, row in zip(ordered, x, strict=True)])

    levels = np.tile(scale * np.arange(thresholds.shape[1] + 1) + bias, (len(thresholds), 1))
    return Quantizer(lambda x: np.asarray(scale * index(x) + bias), index, levels)


def integer_rows(values: Floats) -> tuple[Integers, Floats] | None:
    """Return integers (C, M) and units (C, 1) with  integers * units == values  exactly; None: there are none.

    A row's unit is the greatest that divides all its values, so that its integers are the smallest. The integers of
    quantized weights are small; of float weights they are enormous, or do not fit 62 bits.
    """
    if not np.isfinite(values).all():
        return None
    whole, exponent = _odd(values)
    used = whole != 0
    least = np.where(used, exponent, 1 << 20).min(axis=1, keepdims=True)
    shift = np.where(used, exponent - least, 0)
    if ((np.frexp(np.abs(whole).astype(np.float64))[1] + shift) > 62).any():
        return None
    whole <<= shift
    divisor = np.gcd.reduce(whole, axis=1)[:, None]
    unit = np.ldexp(divisor.astype(np.float64), np.where(least == 1 << 20, 0, least))
    return whole // np.maximum(divisor, 1), unit


def odd_part(values: Floats) -> Floats:
    """Return the magnitude of each number without its powers of two: an odd integer below 2**53, or 0."""
    return np.abs(_odd(values)[0]).astype(np.float64)


def _odd(values: Floats) -> tuple[Integers, NDArray[np.int32]]:
    """Return odd integers, or 0, and exponents with  integer * 2**exponent == value."""
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    trailing = np.frexp((whole & -whole).astype(np.float64))[1] - 1  # zero bits at the end
    trailing[whole == 0] = 0
    whole >>= trailing
    return whole, exponent - 53 + trailing


def near_rows(values: Floats) -> tuple[Integers, Floats] | None:
    """Return integers (C, M) and units (C, 1) with  integers * units == values  but for rounding; None: there are none.

    So are weights whose scale is no short binary number, such as one that a node divides from a maximum, or a float64
    one: each is rounded by itself. Only quotients of two integers up to MAX_NEAR are looked for.
    """
    if not np.isfinite(values).all():
        return None
    block, parts = max(1, NEAR_BLOCK // values.shape[1]), []
    for start in range(0, len(values), block):  # float weights are known by their first rows
        part = _near_rows(values[start : start + block])
        if part is None:
            return None
        parts.append(part)
    integers, units = zip(*parts, strict=True)
    return np.concatenate(integers), np.concatenate(units)


def _near_rows(values: Floats) -> tuple[Integers, Floats] | None:
    size = np.abs(values).max(axis=1, keepdims=True)
    ratios = values / np.where(size == 0, 1.0, size)
    quotients, denominators = _quotients()
    after = np.searchsorted(quotients, np.abs(ratios)).clip(1, len(quotients) - 1)
    closer = np.abs(ratios) - quotients[after - 1] < quotients[after] - np.abs(ratios)
    found = denominators[after - closer]
    divisors = np.array([min(math.lcm(*np.unique(row).tolist()), MAX_NEAR + 1) for row in found])[:, None]
    if (divisors > MAX_NEAR).any():
        return None
    integers = np.round(ratios * divisors)
    if (np.abs(ratios * divisors - integers) > 2.0**-50 * np.abs(integers)).any():
        return None
    return integers.astype(np.int64), size / divisors


@functools.cache
def _quotients() -> tuple[Floats, Integers]:
    """Return all quotients from 0 to 1 of two integers up to MAX_NEAR, ascending, and their smallest denominators."""
    below = np.arange(1, MAX_NEAR + 1)
    values, first = np.unique(np.arange(MAX_NEAR + 1) / below[:, None], return_index=True)
    inside = values <= 1
    return values[inside], below[first[inside] // (MAX_NEAR + 1)]
