"""Images and networks of random integers, with numpy alone: a board's processor has no PyTorch."""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.network import (
    Convolution,
    Dense,
    Depthwise,
    GlobalSum,
    Image,
    Input,
    IntegerNetwork,
    Layer,
    MaxPool,
    Product,
)
from contract.requantization import LARGEST_ADDEND, Requantization, largest_factors, largest_shift

P = TypeVar("P", bound=Product)


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
    layers: list[Dense] = []
    source = source or Input(height, width)
    inputs, low, high = source.size, source.values.low, source.values.high
    for mh, count in zip(sizes, levels, strict=False):
        layers.append(activated(rng, Dense(_weights(rng, (mh, inputs), reach), None), count, low, high))
        inputs, (low, high) = mh, layers[-1].output_range()
    layers.append(Dense(_weights(rng, (outputs, inputs), reach), None))
    return IntegerNetwork(source, tuple(layers))


def random_convolutional_network(
    kinds: list[str], levels: list[int], *, seed: int, source: Input, outputs: int = 1, reach: int = 127
) -> IntegerNetwork:
    """Layers of such kinds on an image, with random windows, and a dense head; a window that fits nowhere is left out.

    The arguments are those of `random_integer_network`.
    """
    rng = np.random.default_rng(seed)
    layers: list[Layer] = []
    shape, (low, high) = source.image, (source.values.low, source.values.high)
    for kind, count in zip(kinds, levels, strict=False):
        if len(shape) == 3 and (layer := _of_kind(rng, kind, shape, (low, high), first=not layers, reach=reach)):
            layers.append(activated(rng, layer, count, low, high) if isinstance(layer, Product) else layer)
            shape, (low, high) = layers[-1].output_shape, layers[-1].reach(low, high)  # type: ignore[assignment]
    layers.append(Dense(_weights(rng, (outputs, int(np.prod(shape))), reach), None))
    return IntegerNetwork(source, tuple(layers))


def _of_kind(
    rng: np.random.Generator, kind: str, image: Image, ends: tuple[int, int], *, first: bool, reach: int
) -> Layer | None:
    if kind == "global_sum":
        return GlobalSum(image)
    height, width = (int(v) for v in rng.integers(1, 5, 2))
    down, right = (int(v) for v in rng.integers(1, 4, 2))
    if kind == "max_pool":
        return MaxPool(image, (height, width), (down, right)) if height <= image[0] and width <= image[1] else None
    padding, fill = [0, 0, 0, 0], 0
    if ends != (-1, 1):
        padding = [int(rng.integers(0, v)) for v in (height, width, height, width)]
        fill = int(rng.integers(ends[0], ends[1] + 1)) if first else 0
    if padding[0] + image[0] + padding[2] < height or padding[1] + image[1] + padding[3] < width:
        return None
    window = {"image": image, "stride": (down, right), "padding": tuple(padding), "fill": fill}
    if kind == "depthwise":
        return Depthwise(_weights(rng, (image[2], height, width), reach), None, **window)  # type: ignore[arg-type]
    channels = int(rng.integers(1, 5))
    return Convolution(_weights(rng, (channels, height, width, image[2]), reach), None, **window)  # type: ignore[arg-type]


def _weights(rng: np.random.Generator, shape: tuple[int, ...], reach: int) -> NDArray[np.int8]:
    values = rng.integers(-reach, reach + 1, shape) if reach else 2 * rng.integers(0, 2, shape) - 1
    return values.astype(np.int8)


def activated(rng: np.random.Generator, layer: P, count: int, low: int, high: int) -> P:
    """Return the layer with a random activation, of so many levels as `random_integer_network` says."""
    least, greatest = layer.accumulator_range(low, high)
    if count < 0:
        return layer.requantized(random_requantization(rng, least, greatest, levels=-count), low, high)
    thresholds = np.sort(rng.integers(least[:, None], greatest[:, None] + 2, (len(least), count or 1)), axis=1)
    return replace(layer, thresholds=thresholds, bipolar=count == 0)


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
