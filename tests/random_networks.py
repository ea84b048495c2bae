"""Networks and images for tests of the chain: random, not trained, so that every value and every sign occurs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from contract.network import IntegerLayer, IntegerNetwork
from datasets.xray import Split
from export.export import export_run
from qnn.checkpoint import Checkpoint
from qnn.network import PixelMLP, snap_weights
from qnn.spec import NetworkSpec


def small_spec(weight_bits: object, act_bits: object, hidden: tuple[int, ...] = (12, 6)) -> NetworkSpec:
    """8 x 8 pixels and two small hidden layers."""
    return NetworkSpec.model_validate(
        {"height": 8, "width": 8, "hidden": hidden, "weight_bits": weight_bits, "act_bits": act_bits}
    )


def random_net(spec: NetworkSpec, *, seed: int = 0) -> PixelMLP:
    """As if trained: statistics that suit the images; gains and shifts of both signs."""
    torch.manual_seed(seed)
    net = PixelMLP(spec)
    with torch.no_grad():
        for _ in range(20):  # fill the running statistics
            net(torch.randint(0, 256, (64, spec.inputs)).float())
        for part in (*net.blocks, net.head):
            part.norm.weight.normal_()
            part.norm.bias.normal_()
    snap_weights(net)
    return net.eval()


def random_pixels(count: int, *, height: int = 8, width: int = 8, seed: int = 1) -> NDArray[np.uint8]:
    """(count, height, width); the first is all 0, the second all 255, the third one bright pixel."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width), dtype=np.uint8)
    pixels[0], pixels[1], pixels[2] = 0, 255, 0
    pixels[2, 3, 4] = 255
    return pixels


def export_random(out: Path, spec: NetworkSpec, *, count: int = 40, seed: int = 0) -> dict[str, Any]:
    """Write an export folder; return what export.json holds."""
    return export_net(out, random_net(spec, seed=seed), random_pixels(count, height=spec.height, width=spec.width))


def export_net(out: Path, net: PixelMLP, pixels: NDArray[np.uint8], *, operating_point: float = 0.25) -> dict[str, Any]:
    """Export one network with these images as its test set."""
    numbers = np.arange(len(pixels))
    split = Split(pixels, numbers % 2, numbers, tuple(f"{i}.png" for i in numbers))
    return export_run(Checkpoint(net, operating_point, "a fingerprint"), split, out)


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
