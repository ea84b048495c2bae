"""From what is fed to an imported network to the integers that its hardware reads: the host's rule, in the manifest.

Where the file has a quantizer in front of its first layer, the host is that quantizer: an integer is the number of
thresholds that a value reaches. They are the file's own decisions in float64, so every value gets the file's integer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError
from contract.values import BIPOLAR, VALUES

FLOAT = "float"
MAX_RULE = 1 << 16  # thresholds of a rule
MIN_SCALE, MAX_SCALE = 1e-12, 1e6  # by which fed integers are multiplied to give what the file reads


@dataclass(frozen=True)
class InputRule:
    """integer = low + #{thresholds <= value}; bipolar: -1, or +1 where the one threshold is reached."""

    reads: str  # what is fed: "float", or a name in contract.values.VALUES
    datatype: str  # of the integers, a name in VALUES
    low: int
    thresholds: tuple[tuple[float, ...], ...]  # (1, L), or a row for each value of an input; ascending

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return an array of what is fed."""
        if self.reads != FLOAT:
            return VALUES[self.reads].random(rng, shape)
        low, high = self.thresholds[0][0], self.thresholds[0][-1]
        return rng.uniform(low - 1, high + 1, shape).astype(np.float32)

    def fits(self, values: NDArray[Any]) -> bool:
        """Tell whether an array is of what is fed."""
        if self.reads == FLOAT:
            return values.dtype in (np.float32, np.float64)
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
        if not np.isfinite(values).all():
            raise DataError("values hold what is no finite number, expected numbers only.")
        flat = values.reshape(len(values), -1)
        if len(self.thresholds) == 1:
            counts = np.searchsorted(self.thresholds[0], flat, side="right")
        else:
            columns = zip(self.thresholds, flat.T, strict=True)
            counts = np.stack([np.searchsorted(row, column, side="right") for row, column in columns], axis=1)
        integers = 2 * counts - 1 if self.datatype == BIPOLAR else counts + self.low
        return integers.astype(VALUES[self.datatype].dtype).reshape(values.shape)
