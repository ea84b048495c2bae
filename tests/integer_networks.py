"""Images and networks of random integers, with numpy alone: a board's processor has no PyTorch."""

import numpy as np
from numpy.typing import NDArray

from contract.network import IntegerLayer, IntegerNetwork


def random_pixels(count: int, *, height: int = 8, width: int = 8, seed: int = 1) -> NDArray[np.uint8]:
    """(count, height, width); the first is all 0, the second all 255, the third one bright pixel."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width), dtype=np.uint8)
    pixels[0], pixels[1], pixels[2] = 0, 255, 0
    pixels[2, 3, 4] = 255
    return pixels


def random_integer_network(
    sizes: list[int], levels: list[int], *, height: int, width: int, seed: int, reach: int = 127
) -> IntegerNetwork:
    """Any network that reference.npz can hold: random weights, thresholds spread over the whole accumulator range.

    Args:
        sizes: outputs of each hidden layer.
        levels: thresholds of each hidden layer; 0 makes it bipolar.
        height: of the image.
        width: of the image.
        seed: of everything random.
        reach: largest weight.
    """
    rng = np.random.default_rng(seed)
    layers: list[IntegerLayer] = []
    inputs, low, high = height * width, 0, 255
    for outputs, count in zip(sizes, levels, strict=True):
        weights = rng.integers(-reach, reach + 1, (outputs, inputs)).astype(np.int8)
        least, greatest = IntegerLayer(weights, None).accumulator_range(low, high)
        thresholds = np.sort(rng.integers(least[:, None], greatest[:, None] + 2, (outputs, count or 1)), axis=1)
        layers.append(IntegerLayer(weights, thresholds, bipolar=count == 0))
        inputs, (low, high) = outputs, layers[-1].output_range()
    layers.append(IntegerLayer(rng.integers(-reach, reach + 1, (1, inputs)).astype(np.int8), None))
    return IntegerNetwork(height, width, tuple(layers))
