"""From what is fed to an imported network to the integers that its hardware reads: the host's rule, in the manifest.

Where the file has a quantizer in front of its first layer, the host is that quantizer: an integer is the number of
thresholds that a value reaches. They are the file's own decisions in float64, so every value gets the file's integer.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError
from contract.values import BIPOLAR, VALUES

FLOAT = "float"
GREATEST = float(np.finfo(np.float32).max)  # magnitude of what is fed, where that is floats: files read float32
EXACT = 2**53  # up to which float64 holds every integer
MAX_RULE = 1 << 16  # thresholds of a rule
MIN_SCALE, MAX_SCALE = 1e-12, 1e6  # by which fed integers are multiplied to give what the file reads


def first_beyond(values: NDArray[Any]) -> int | None:
    """Return the first of (N, ...) inputs that holds what no float32 does, nan and inf among it; None: none does."""
    if values.dtype.kind != "f":
        return None
    good = (np.abs(values.astype(np.float64)) <= GREATEST).all(axis=tuple(range(1, values.ndim)))
    return None if good.all() else int(good.argmin())


def is_exact(values: NDArray[Any]) -> bool:
    """Tell whether float64 holds an array's numbers as they are: floats, booleans, integers up to 2**53."""
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size:
        return max(-int(values.min()), int(values.max())) <= EXACT
    return values.dtype.kind in "biuf" and values.dtype.itemsize <= 8


def same_order(found: tuple[int, ...], expected: tuple[int, ...], *, flat: bool) -> bool:
    """Tell whether an input of one shape, read in order, is one of the other: but for axes of length 1, or `flat`.

    The number of values alone does not tell: an image that lies on its side has as many.
    """
    sides, wanted = ([side for side in shape if side != 1] for shape in (found, expected))
    return sides == wanted or (flat and sides == [math.prod(expected)])


def expected_shape(shape: tuple[int, ...], *, flat: bool) -> str:
    """Return the shapes of arrays that `same_order` takes, for messages."""
    whole = f"(N, {', '.join(map(str, shape))})"
    if not flat:
        return f"{whole}: height, width, channels"
    in_a_row = f"(N, {math.prod(shape)})"
    return whole if whole == in_a_row else f"{whole} or {in_a_row}"


@dataclass(frozen=True)
class InputRule:
    """integer = low + #{thresholds <= value}; bipolar: -1, or +1 where the one threshold is reached."""

    reads: str  # what is fed: "float", or a name in contract.values.VALUES
    datatype: str  # of the integers, a name in VALUES
    low: int
    # (1, L), or a row for each value of an input; ascending. Of floats, -GREATEST is always reached, one above GREATEST
    # never.
    thresholds: tuple[tuple[float, ...], ...]

    def __str__(self) -> str:
        """Return it for people: int3 by 7 thresholds from -0.875 to 0.625, or bipolar by 1 threshold at 0.5."""
        edges = [edge for row in self.thresholds for edge in row if abs(edge) < GREATEST]
        ends = list(dict.fromkeys(f"{edge:.4g}" for edge in (min(edges), max(edges)))) if edges else []
        where = f" {'from' if len(ends) > 1 else 'at'} {' to '.join(ends)}" if ends else ""
        count = len(self.thresholds[0])
        return f"{self.datatype} by {count} threshold{'s' * (count > 1)}{where}"

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return an array of what is fed."""
        if self.reads != FLOAT:
            return VALUES[self.reads].random(rng, shape)
        edges = [edge for row in self.thresholds for edge in row if abs(edge) < GREATEST] or [0.0]
        return rng.uniform(min(edges) - 1, max(edges) + 1, shape).astype(np.float32)

    def fits(self, values: NDArray[Any]) -> bool:
        """Tell whether an array is of what is fed."""
        if self.reads == FLOAT:
            return is_exact(values)
        kind = VALUES[self.reads]
        return bool(values.dtype == kind.dtype and kind.hold(values))

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the integers of (N, ...) values.

        Raises:
            DataError: they are of another type, or not all are numbers.
        """
        if not self.fits(values):
            raise DataError(
                f"values are {values.dtype}{values.shape}, expected {self.reads} as the network was made for."
            )
        if (wrong := first_beyond(values)) is not None:
            raise DataError(f"values hold what is no finite number of float32, first in input {wrong}.")
        flat = values.reshape(len(values), -1)
        if len(self.thresholds) == 1:
            counts = np.searchsorted(self.thresholds[0], flat, side="right")
        else:
            columns = zip(self.thresholds, flat.T, strict=True)
            counts = np.stack([np.searchsorted(row, column, side="right") for row, column in columns], axis=1)
        integers = 2 * counts - 1 if self.datatype == BIPOLAR else counts + self.low
        return integers.astype(VALUES[self.datatype].dtype).reshape(values.shape)
