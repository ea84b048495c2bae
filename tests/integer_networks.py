"""Images and networks of random integers, with numpy alone: a board's processor has no PyTorch."""

import numpy as np
from numpy.typing import NDArray

from contract.network import Dense, Input, IntegerNetwork
from contract.requantization import LARGEST_ADDEND, Requantization, largest_factors, largest_shift


def random_pixels(count: int, *, height: int = 8, width: int = 8, seed: int = 1) -> NDArray[np.uint8]:
    """(count, height, width); the first is all 0, the second all 255, the third one bright pixel."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width), dtype=np.uint8)
    pixels[0], pixels[1], pixels[2] = 0, 255, 0
    pixels[2, min(3, height - 1), min(4, width - 1)] = 255
    return pixels


def random_integer_network(
    sizes: list[int],
    levels: list[int],
    *,
    seed: int,
    height: int = 8,
    width: int = 8,
    source: Input | None = None,
    outputs: int = 1,
    reach: int = 127,
) -> IntegerNetwork:
    """Any network that reference.npz can hold: random weights, thresholds spread over the whole accumulator range.

    Args:
        sizes: outputs of each hidden layer.
        levels: of each hidden layer, counted by thresholds; 0 makes it bipolar, and below 0 are levels of a
            multiplication and a shift. More are not looked at.
        seed: of everything random.
        height: of the image of uint8 pixels.
        width: of the image.
        source: the input, if it is another one.
        outputs: K.
        reach: largest weight; 0 makes all weights -1 or +1.
    """
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, int]) -> NDArray[np.int8]:
        values = rng.integers(-reach, reach + 1, shape) if reach else 2 * rng.integers(0, 2, shape) - 1
        return values.astype(np.int8)

    layers: list[Dense] = []
    source = source or Input(height, width)
    inputs, low, high = source.size, source.values.low, source.values.high
    for mh, count in zip(sizes, levels, strict=False):
        weights = draw((mh, inputs))
        least, greatest = Dense(weights, None).accumulator_range(low, high)
        if count < 0:
            found = random_requantization(rng, least, greatest, levels=-count)
            layers.append(Dense(weights, None).requantized(found, low, high))
        else:
            thresholds = np.sort(rng.integers(least[:, None], greatest[:, None] + 2, (mh, count or 1)), axis=1)
            layers.append(Dense(weights, thresholds, bipolar=count == 0))
        inputs, (low, high) = mh, layers[-1].output_range()
    layers.append(Dense(draw((outputs, inputs)), None))
    return IntegerNetwork(source, tuple(layers))


def random_requantization(
    rng: np.random.Generator, least: NDArray[np.int64], greatest: NDArray[np.int64], *, levels: int
) -> Requantization:
    """Any that a layer of such sums may have: factors of few bits and of all, levels that are in use and others."""
    shift = int(rng.integers(0, rng.choice([4, 1 + largest_shift(levels)])))
    steepest = np.log2(largest_factors(least, greatest) + 1.0)
    near = np.log2(levels * 2.0**shift / (1.0 + greatest - least)) + rng.normal(0, 2, len(least))
    bits = np.where(rng.random(len(least)) < 0.7, near, rng.uniform(0, 1, len(least)) * steepest)
    factor = np.minimum((2.0 ** bits.clip(-1, 61)).astype(np.int64), largest_factors(least, greatest))
    factor[rng.random(len(least)) < 0.2] = rng.integers(0, 2)
    begins = rng.integers(least, greatest + 1)  # about the sum at which some level begins
    addend = (rng.integers(0, levels + 1, len(least)) << shift) - factor * begins
    addend[rng.random(len(least)) < 0.1] = rng.choice([-LARGEST_ADDEND, LARGEST_ADDEND])
    return Requantization(factor, addend, shift, levels)
