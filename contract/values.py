"""The integers that a network reads: which values a datatype has, and how they stand on a stream.

A beat of a stream carries so many values, its lanes, without gaps, the first in the low bits, and ends in a whole byte.
Negative values are in two's complement; a bipolar value is one bit, 0 for -1 and 1 for +1. This is how FINN's hardware
reads them, so whoever drives an input (driver, simulation, testbench) packs with `Values.pack`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BIPOLAR = "bipolar"


@dataclass(frozen=True)
class Values:
    """One datatype."""

    name: str
    bits: int
    low: int
    high: int

    @property
    def dtype(self) -> type[np.uint8] | type[np.int8]:
        """The numpy type of arrays of such values."""
        return np.int8 if self.low < 0 else np.uint8

    def __str__(self) -> str:
        """Return it as errors call it."""
        return f"{self.name} (-1 or +1)" if self.name == BIPOLAR else f"{self.name} ({self.low} to {self.high})"

    def hold(self, values: NDArray[Any]) -> bool:
        """Tell whether an array of `dtype` has such values only."""
        whole = np.iinfo(self.dtype)
        if (self.low, self.high) == (whole.min, whole.max) or not values.size:
            return True
        if self.name == BIPOLAR:
            return bool((np.abs(values) == 1).all())  # type: ignore[arg-type]
        return bool(values.min() >= self.low and values.max() <= self.high)  # type: ignore[attr-defined]

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return an array of `dtype` with any of these values."""
        if self.name == BIPOLAR:
            return rng.choice(np.array([-1, 1], dtype=np.int8), shape)
        return rng.integers(self.low, self.high + 1, shape, dtype=self.dtype)

    def beat_bytes(self, lanes: int) -> int:
        """Return the bytes of a beat of so many values."""
        return -(-lanes * self.bits // 8)

    def pack(self, values: NDArray[Any], *, lanes: int) -> NDArray[np.uint8]:
        """Return (N, M) values of `dtype` as (N, M / lanes * beat_bytes) bytes on the stream; lanes divide M."""
        values = np.ascontiguousarray(values)
        if self.bits == 8:
            return values.view(np.uint8)
        coded = (values > 0).astype(np.uint8) if self.name == BIPOLAR else values.view(np.uint8)  # type: ignore[operator]
        bits = coded[..., None] >> np.arange(self.bits, dtype=np.uint8) & np.uint8(1)
        beats = bits.reshape(len(values), values.shape[1] // lanes, lanes * self.bits)
        return np.packbits(beats, axis=2, bitorder="little").reshape(len(values), -1)

    def unpack(self, raw: NDArray[np.uint8], *, lanes: int) -> NDArray[Any]:
        """Return the (N, M) values of (N, M / lanes * beat_bytes) bytes: the inverse of `pack`."""
        if self.bits == 8:
            return np.ascontiguousarray(raw).view(self.dtype)
        beats = raw.reshape(len(raw), -1, self.beat_bytes(lanes))
        bits = np.unpackbits(beats, axis=2, bitorder="little")[..., : lanes * self.bits]
        coded = bits.reshape(len(raw), -1, self.bits).astype(np.int16) @ (1 << np.arange(self.bits, dtype=np.int16))
        if self.name == BIPOLAR:
            coded = 2 * coded - 1
        elif self.low < 0:
            coded = np.where(coded > self.high, coded - 2**self.bits, coded)
        return coded.astype(self.dtype)


VALUES = {
    values.name: values
    for values in (
        *(Values(f"uint{bits}", bits, 0, 2**bits - 1) for bits in range(8, 1, -1)),
        *(Values(f"int{bits}", bits, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in range(8, 1, -1)),
        Values(BIPOLAR, 1, -1, 1),
    )
}
PIXELS = VALUES["uint8"]
