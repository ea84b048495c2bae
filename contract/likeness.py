"""How unlike the training images a picture is: likeness.npz, made of them by datasets/likeness.py, and its measures.

A network answers for anything: for a photograph, too. Its training images vary about a mean along a few directions,
their principal components, and little along all others. A picture is measured along and beyond these, as is usual for
telling what a linear model was not made for (Jackson and Mudholkar, "Control Procedures for Residuals Associated With
Principal Component Analysis", 1979), in integers, so that every device says the same:

    d = pixels - mean
    p[k] = sum_i components[k, i] * d[i]                                    in 2**-SCALE_BITS gray levels
    along = floor(sum_k weights[k] * p[k]**2 / 2**(2 * SCALE_BITS + WEIGHT_BITS))
    beyond = floor(sum_i d[i]**2 - sum_k p[k]**2 / 2**(2 * SCALE_BITS))     in gray levels squared

`along` is great where what training images have is there to an unusual extent: the gray is inverted, say. `beyond` is
great where there is what they have not, and small where there is less than they all have: a blurred picture. Each is
within its limits for almost all of the validation images: 99 % of these are within all. An answer is given all the
same.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.npz import load_npz, save_npz

FILE = "likeness.npz"
SCALE_BITS = 12
WEIGHT_BITS = 20
MAX_PIXELS = 1 << 20
MAX_COMPONENTS = 256
_LONGEST = 1 << (2 * SCALE_BITS + 1)  # of a component's squared length, which is about 2**(2 * SCALE_BITS)
_BLOCK = 1 << 20  # pixels that are looked at at a time


def is_unlike(times: float) -> bool:
    """Return whether an image of this `Likeness.unlikeness` is unlike the training images."""
    return times > 1


@dataclass(frozen=True)
class Likeness:
    """What the training images look like."""

    mean: NDArray[np.uint8]  # (H, W)
    components: NDArray[np.int16]  # (R, H, W)
    weights: NDArray[np.int64]  # (R,) 0..2**WEIGHT_BITS
    limits: NDArray[np.int64]  # (3,) of `along` at most; of `beyond` at least, and at most; each 1 or more

    def measures(self, pixels: NDArray[np.uint8]) -> list[tuple[int, int]]:
        """Return (along, beyond) of each of (N, H, W) images."""
        rows, weights = max(1, _BLOCK // self.mean.size), self.weights.tolist()
        components = self.components.reshape(len(self.components), self.mean.size).astype(np.float64).T
        found: list[tuple[int, int]] = []
        for start in range(0, len(pixels), rows):
            d = pixels[start : start + rows].reshape(-1, self.mean.size).astype(np.int32)
            d -= self.mean.reshape(-1)
            # Every sum of products is an integer below 2**53, so float64 holds it, in whatever order it is added up.
            p = d.astype(np.float64).dot(components).astype(np.int64)
            for length, squares in zip((d * d).sum(axis=1, dtype=np.int64).tolist(), (p * p).tolist(), strict=True):
                weighted = sum(weight * square for weight, square in zip(weights, squares, strict=True))
                along = weighted >> (2 * SCALE_BITS + WEIGHT_BITS)
                found.append((along, length + (-sum(squares) >> (2 * SCALE_BITS))))  # shifted, it rounds down
        return found

    def unlikeness(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return how many times its limit the worst measure of each image is, (N,): above 1 it is unlike them."""
        most_along, least, most = self.limits.tolist()
        times = [
            max(along / most_along, beyond / most, least / max(1, beyond)) for along, beyond in self.measures(pixels)
        ]
        return np.array(times, dtype=np.float64)

    def save(self, path: Path) -> None:
        """Write it to `path`, whole or not at all."""
        arrays = {"mean": self.mean, "components": self.components, "weights": self.weights, "limits": self.limits}
        save_npz(path, arrays)  # type: ignore[arg-type]


def load_likeness(path: Path, *, height: int, width: int) -> Likeness:
    """Read what `Likeness.save` wrote, trusting nothing; it must be of such pictures. Raises ArtifactError."""
    arrays = load_npz(path)
    shape = (height, width)
    mean, components, weights, limits = (arrays.get(name) for name in ("mean", "components", "weights", "limits"))
    if (
        height * width > MAX_PIXELS
        or mean is None or mean.dtype != np.uint8 or mean.shape != shape
        or components is None or components.dtype != np.int16 or components.shape[1:] != shape
        or not len(components) <= MAX_COMPONENTS
        or weights is None or weights.dtype != np.int64 or weights.shape != (len(components),)
        or limits is None or limits.dtype != np.int64 or limits.shape != (3,) or min(limits.tolist()) < 1
    ):  # fmt: skip
        raise ArtifactError(
            f"{path} does not say what images of {height} x {width} look like. Export and package the run again."
        )
    flat = components.reshape(len(components), height * width).astype(np.int32)
    too_long = bool(len(flat)) and int((flat * flat).sum(axis=1, dtype=np.int64).max()) > _LONGEST
    if too_long or not all(0 <= weight <= 1 << WEIGHT_BITS for weight in weights.tolist()):
        raise ArtifactError(f"{path} is damaged: its components or weights are too large. Export it again.")
    return Likeness(mean, components, weights, limits)  # type: ignore[arg-type]
