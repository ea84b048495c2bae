"""Convolutional networks: Brevitas, QONNX, the integers and the CPU reference are one function."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from contract.network import Convolution, Depthwise, GlobalSum, MaxPool, load_network, save_network
from driver.reference import Reference
from export.export import compare_file, compare_network
from export.foreign import proof
from export.foreign.folder import import_file
from export.integer_network import canonical, extract
from export.qonnx_model import to_qonnx
from export.requantization import requantized
from qnn.network import PixelMLP
from qnn.spec import NetworkSpec

SMALL = {"height": 12, "width": 10}
NETWORKS: dict[str, dict[str, Any]] = {
    "strides, global, no hidden layer, per tensor": {
        "convolutions": [{"channels": 4, "kernel": 5, "stride": 2}, {"channels": 6, "padding": 1, "stride": 2}],
        "pool": "global", "hidden": [], "weight_bits": [8, 4, 8], "act_bits": 4,
    },
    "padding in front, depthwise, whole image, per channel": {
        "convolutions": [
            {"channels": 4, "padding": 1}, {"channels": 6, "padding": 2, "kind": "depthwise", "stride": 2},
        ],
        "pool": "none", "hidden": [9], "weight_bits": 2, "act_bits": 3,
    },
    "maxima, and a sum that is no power of two": {
        "height": 14, "width": 12, "convolutions": [4, 6], "hidden": [9], "weight_bits": 3, "act_bits": 2,
    },
    "signs everywhere, K outputs": {
        "convolutions": [{"channels": 4, "padding": 1}, {"channels": 6, "kind": "depthwise"}],
        "pool": "none", "hidden": [9], "weight_bits": 1, "act_bits": 1, "outputs": 3,
    },
}  # fmt: skip


def make_pixels(spec: NetworkSpec) -> NDArray[np.uint8]:
    """Noise around every grey, and images of one grey."""
    rng = np.random.default_rng(1)
    grey = np.linspace(0, 255, 30)[:, None, None]
    noise = rng.normal(0, rng.choice([0, 20, 90], (30, 1, 1)), (30, spec.height, spec.width))
    return (grey + noise).clip(0, 255).astype(np.uint8)


def make_net(spec: NetworkSpec) -> PixelMLP:
    """A network as if trained on such images: batch norms with gains of both signs and statistics that suit them."""
    torch.manual_seed(0)
    net = PixelMLP(spec)
    pixels = torch.from_numpy(make_pixels(spec)).flatten(1).float()
    with torch.no_grad():
        for part in (*net.blocks, net.head):
            part.norm.weight.uniform_(0.5, 2)
            part.norm.weight[::3] *= -1
            part.norm.bias.normal_()
            part.norm.momentum = None  # the mean of all batches
        for _ in range(3):
            net(pixels)
    return net.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_all_forms_of_a_convolutional_network_are_equal(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "WINDOW_PROBES", 32)
    spec = NetworkSpec.model_validate({**SMALL, **NETWORKS[name]})
    assert NetworkSpec.model_validate_json(spec.model_dump_json()) == spec
    net, pixels = canonical(make_net(spec)), make_pixels(spec)
    network = requantized(extract(net).network)
    outputs = network.outputs(pixels)[-1]
    assert len(np.unique(outputs)) > 3
    compare_network(net, pixels, outputs)
    to_qonnx(net, tmp_path / "model.onnx")
    compare_file(tmp_path / "model.onnx", pixels, outputs)
    import_file(tmp_path / "model.onnx", tmp_path / "again")
    again = load_network(tmp_path / "again" / "reference.npz")
    np.testing.assert_array_equal(again.outputs(pixels)[-1], outputs)
    save_network(tmp_path / "reference.npz", network)
    np.testing.assert_array_equal(Reference.load(tmp_path / "reference.npz").outputs(pixels), outputs)
    assert [layer.kind for layer in load_network(tmp_path / "reference.npz").layers] == [
        layer.kind for layer in network.layers
    ]


def test_which_layers_a_network_has() -> None:
    spec = NetworkSpec.model_validate({**SMALL, **NETWORKS["padding in front, depthwise, whole image, per channel"]})
    first, depthwise, over_channels, *dense = extract(canonical(make_net(spec))).network.layers
    assert isinstance(first, Convolution) and (first.fill, first.padding) == (128, (1, 1, 1, 1))
    assert isinstance(depthwise, Depthwise) and (depthwise.fill, depthwise.stride) == (0, (2, 2))
    assert isinstance(over_channels, Convolution) and over_channels.weights.shape == (6, 1, 1, 4)
    assert len(dense) == 2
    spec = NetworkSpec.model_validate({**SMALL, **NETWORKS["maxima, and a sum that is no power of two"]})
    layers = extract(canonical(make_net(spec))).network.layers
    assert [type(layer) for layer in layers[:5]] == [Convolution, MaxPool, Convolution, MaxPool, GlobalSum]
