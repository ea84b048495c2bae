"""The CPU reference: the accelerator's integers from `reference.npz` alone, with numpy alone.

Matrix products go through BLAS in floating point, which is exact as long as no partial sum leaves the integers that
the type represents: 2**24 in float32, 2**53 in float64. The bound is computed from the weights, per layer.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError
from contract.network import IntegerLayer, IntegerNetwork, load_network

BATCH = 4096  # images at a time: bounds the memory


class Reference:
    """Callable: (N, height, width) or (N, height * width) uint8 pixels -> (N,) int64 logits."""

    def __init__(self, network: IntegerNetwork) -> None:
        """Prepare the products of `network`."""
        self.network = network
        self._products = [
            _Product(layer, low, high)
            for layer, (low, high) in zip(network.layers, network.input_ranges(), strict=True)
        ]

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Read `reference.npz`. Raises ArtifactError if it is damaged."""
        return cls(load_network(path))

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return one integer logit per image."""
        mw = self.network.height * self.network.width
        if pixels.dtype != np.uint8 or pixels.ndim < 2 or pixels[0:1].size not in (0, mw):
            raise DataError(
                f"pixels are {pixels.dtype}{pixels.shape}, expected uint8(N, {self.network.height}, "
                f"{self.network.width}): the accelerator takes raw pixels, not normalised ones."
            )
        flat = pixels.reshape(len(pixels), mw)
        logits = np.empty(len(flat), dtype=np.int64)
        for start in range(0, len(flat), BATCH):
            x = np.asarray(flat[start : start + BATCH])
            for product in self._products:
                x = product(x)
            logits[start : start + BATCH] = x[:, 0]
        return logits


class _Product:
    """One layer, with its weights in the narrowest floating type that is exact."""

    def __init__(self, layer: IntegerLayer, low: int, high: int) -> None:
        bound = layer.partial_sum_bound(low, high)
        self._dtype = np.float32 if bound <= 2**24 else np.float64
        self._weights: NDArray[Any] = np.ascontiguousarray(layer.weights.T, dtype=self._dtype)
        self._thresholds = None if layer.thresholds is None else layer.thresholds.astype(np.float64)
        self._bipolar = layer.bipolar

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        acc = np.asarray(x.astype(self._dtype) @ self._weights)
        if self._thresholds is None:
            return acc.astype(np.int64)
        counts = np.empty(acc.shape, dtype=self._dtype)
        for c, t in enumerate(self._thresholds):
            counts[:, c] = np.searchsorted(t, acc[:, c], side="right")
        return 2 * counts - 1 if self._bipolar else counts
