"""The network as the hardware knows it: integer weights and integer thresholds, and nothing else.

This is what `reference.npz` holds. A layer multiplies, accumulates and counts thresholds:

    acc[n, c] = sum_i weights[c, i] * x[n, i]
    count[n, c] = #{ l : acc[n, c] >= thresholds[c, l] }
    y = 2 * count - 1 where the layer is bipolar (one threshold), count otherwise

The first x is the uint8 pixels; the last layer has no thresholds and its one accumulator is the integer logit.
Source: Umuroglu et al., "FINN", arXiv:1612.07119.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.npz import load_npz, save_npz

FORMAT = 1
PIXEL_MAX = 255
FLOAT32_EXACT = 2**24  # integers up to here are exact in float32
MAX_SIDE = 4096  # height and width of an image that a file may ask for [pixels]


@dataclass(frozen=True)
class IntegerLayer:
    """One matrix-vector product and its activation."""

    weights: NDArray[np.int8]  # (MH, MW)
    thresholds: NDArray[np.int64] | None  # (MH, L) accumulator LSBs, ascending along axis 1; None in the head
    bipolar: bool = False  # the activation is -1 / +1 instead of 0..L

    def output_range(self) -> tuple[int, int]:
        """Return the smallest and the largest activation. Only for layers with thresholds."""
        if self.thresholds is None:
            raise ValueError("the head has no activation")
        return (-1, 1) if self.bipolar else (0, self.thresholds.shape[1])

    def accumulator_range(self, low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the (MH,) least and greatest accumulators that inputs within low..high can reach."""
        w = self.weights.astype(np.int64)
        positive, negative = np.where(w > 0, w, 0).sum(axis=1), np.where(w < 0, w, 0).sum(axis=1)
        return positive * low + negative * high, positive * high + negative * low

    def partial_sum_bound(self, low: int, high: int) -> int:
        """Return a bound on |partial sum| in any order of summation, for inputs within low..high."""
        return int(np.abs(self.weights.astype(np.int64)).sum(axis=1).max() * max(abs(low), abs(high)))


@dataclass(frozen=True)
class IntegerNetwork:
    """All layers, in the order of the data, and the shape of the image."""

    height: int
    width: int
    layers: tuple[IntegerLayer, ...]

    def input_ranges(self) -> list[tuple[int, int]]:
        """Return the smallest and the largest input of each layer."""
        return [(0, PIXEL_MAX), *(layer.output_range() for layer in self.layers[:-1])]

    def exact_in_float32(self) -> bool:
        """Whether float32 holds every sum on the way, in any order of summation."""
        bounds = (layer.partial_sum_bound(*ends) for layer, ends in zip(self.layers, self.input_ranges(), strict=True))
        return max(bounds) <= FLOAT32_EXACT

    def outputs(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
        """Return every layer's (N, MH) output for images, (N, height, width): the definition above, in int64.

        The last one is the (N, 1) logits. Slow and plain on purpose; `driver.reference` is the fast one.
        """
        x: NDArray[Any] = pixels.reshape(len(pixels), -1)
        outputs = []
        for layer in self.layers:
            x = x @ layer.weights.T.astype(np.int64)
            if layer.thresholds is not None:
                counts = [(x[:, [c]] >= t).sum(axis=1, dtype=np.int64) for c, t in enumerate(layer.thresholds)]
                x = np.stack(counts, axis=1)
                if layer.bipolar:
                    x = 2 * x - 1
            outputs.append(x)
        return outputs


def save_network(path: Path, network: IntegerNetwork) -> None:
    """Write `network` to `path`, whole or not at all."""
    arrays: dict[str, NDArray[np.generic]] = {
        "format": np.array(FORMAT),
        "image": np.array([network.height, network.width], dtype=np.int64),  # on a 32-bit processor too
        "bipolar": np.array([layer.bipolar for layer in network.layers]),
    }
    for i, layer in enumerate(network.layers):
        arrays[f"weights_{i}"] = layer.weights
        if layer.thresholds is not None:
            arrays[f"thresholds_{i}"] = layer.thresholds
    save_npz(path, arrays)


def load_network(path: Path) -> IntegerNetwork:
    """Read what `save_network` wrote, trusting nothing.

    Raises:
        ArtifactError: the file is damaged or its arrays do not make a network.
    """
    arrays = load_npz(path)
    try:
        return _to_network(arrays)
    except KeyError as err:
        raise ArtifactError(f"{path} does not hold a network (it has no {err}). Export the run again.") from err
    except (ValueError, TypeError) as err:
        why = " ".join(str(err).split())[:200]  # an array is written on many lines
        raise ArtifactError(f"{path} does not hold a network ({why}). Export the run again.") from err


def _to_network(arrays: dict[str, NDArray[np.generic]]) -> IntegerNetwork:
    if arrays["format"].ndim or arrays["format"].item() != FORMAT:
        raise ValueError(f"its format is {arrays['format']}, expected {FORMAT}")
    image, bipolar = arrays["image"], arrays["bipolar"]
    if image.dtype != np.int64 or image.shape != (2,) or not all(1 <= v <= MAX_SIDE for v in image.tolist()):
        raise ValueError(f"its image is {image}, expected height and width of 1..{MAX_SIDE}")
    if bipolar.dtype != np.bool_ or bipolar.ndim != 1 or bipolar[-1:].any():
        raise ValueError(f"bipolar is {bipolar.dtype}{bipolar.shape}, expected bool(layers,), the last one False")
    height, width = (int(v) for v in image.tolist())
    layers: list[IntegerLayer] = []
    for i in range(len(bipolar)):
        weights, thresholds = arrays[f"weights_{i}"], arrays.get(f"thresholds_{i}")
        mw = layers[-1].weights.shape[0] if layers else height * width
        if weights.dtype != np.int8 or weights.ndim != 2 or weights.shape[1] != mw or not weights.size:
            raise ValueError(f"weights_{i} is {weights.dtype}{weights.shape}, expected int8(MH, {mw})")
        last = i == len(bipolar) - 1
        if last != (thresholds is None) or (last and weights.shape[0] != 1):
            raise ValueError("exactly the last layer has no thresholds, and it has one output")
        if thresholds is not None:
            _check_thresholds(i, thresholds, channels=weights.shape[0], bipolar=bool(bipolar[i]))
        layers.append(IntegerLayer(weights, thresholds, bool(bipolar[i])))  # type: ignore[arg-type]
    if not layers:
        raise ValueError("it has no layers")
    return IntegerNetwork(height, width, tuple(layers))


def _check_thresholds(i: int, thresholds: NDArray[np.generic], *, channels: int, bipolar: bool) -> None:
    shape_ok = thresholds.ndim == 2 and thresholds.shape[0] == channels and thresholds.shape[1] >= 1
    if thresholds.dtype != np.int64 or not shape_ok:
        raise ValueError(f"thresholds_{i} is {thresholds.dtype}{thresholds.shape}, expected int64({channels}, L)")
    if bipolar and thresholds.shape[1] != 1:
        raise ValueError(f"layer {i} is bipolar and has {thresholds.shape[1]} thresholds, expected 1")
    ascending = thresholds.astype(np.int64)
    if np.any(ascending[:, 1:] < ascending[:, :-1]):
        raise ValueError(f"thresholds_{i} are not ascending")
