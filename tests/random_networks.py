"""Networks and images for tests of the chain: random, not trained, so that every value and every sign occurs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datasets.xray import Split
from export.export import export_run
from qnn.checkpoint import Checkpoint
from qnn.network import PixelMLP, snap_weights
from qnn.spec import NetworkSpec
from tests.integer_networks import random_pixels as random_pixels  # for those who want both


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


def export_random(out: Path, spec: NetworkSpec, *, count: int = 40, seed: int = 0) -> dict[str, Any]:
    """Write an export folder; return what export.json holds."""
    return export_net(out, random_net(spec, seed=seed), random_pixels(count, height=spec.height, width=spec.width))


def export_net(out: Path, net: PixelMLP, pixels: NDArray[np.uint8], *, operating_point: float = 0.25) -> dict[str, Any]:
    """Export one network with these images as its test set."""
    numbers = np.arange(len(pixels))
    split = Split(pixels, numbers % 2, numbers, tuple(f"{i}.png" for i in numbers))
    return export_run(Checkpoint(net, operating_point, "a fingerprint"), split, out)
