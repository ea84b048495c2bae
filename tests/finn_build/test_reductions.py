"""Depthwise convolutions, max pools and global sums, from integers to RTL and to gates.

The kind of fault: a window whose places or channels come in another order than the weights', a sum that is not done
when the next image begins, a DSP or memory that is not what the Verilog says.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qonnx.custom_op.registry import getCustomOp

from contract.errors import ConfigError
from contract.golden import Golden
from contract.network import Convolution, Dense, Depthwise, GlobalSum, Image, Input, IntegerNetwork, Layer, MaxPool
from contract.network import Product as Weighted
from finn_build.build import build_network
from finn_build.config import BuildConfig
from finn_build.gates import simulate_gates
from finn_build.graph import execute
from finn_build.hardware_graph import hardware_graph
from finn_build.ops import layer_op, register
from finn_build.steps import fold
from finn_build.stitch import load_design
from finn_build.verify import simulate_network
from tests.integer_networks import activated, random_convolutional_network
from tests.randomness import generator

ONE = (1, 1)
Made = Callable[[Image], Layer]


def network(source: Input, made: list[tuple[Made, int]]) -> tuple[IntegerNetwork, Golden]:
    """Return a network of such layers, each with the levels of its activation or 0, and a head; and images."""
    rng, layers = generator(5), list[Layer]()
    image, low, high = source.image, source.values.low, source.values.high
    for make, levels in made:
        layer = make(image)
        if levels and isinstance(layer, Weighted):
            layer = activated(rng, layer, levels, low, high)
        (low, high), image = layer.reach(low, high), layer.output_shape  # type: ignore[assignment]
        layers.append(layer)
    found = IntegerNetwork(source, (*layers, Dense(weights((2, int(np.prod(image))), 0), None)))
    pixels = generator(4).integers(0, 256, (8, *source.shape), dtype=np.uint8)
    return found, Golden(pixels, found.outputs(pixels)[-1])


def weights(shape: tuple[int, ...], reach: int) -> NDArray[np.int8]:
    return generator(6).choice(range(-reach, reach + 1) if reach else (-1, 1), shape).astype(np.int8)


def depthwise(kernel: tuple[int, int], reach: int, *, padding: int = 0, stride: tuple[int, int] = ONE) -> Made:
    around = (padding,) * 4
    return lambda image: Depthwise(
        weights((image[2], *kernel), reach), None, image=image, padding=around, stride=stride
    )


def convolution(channels: int) -> Made:
    return lambda image: Convolution(weights((channels, 2, 3, image[2]), 7), None, image=image)


def max_pool(kernel: tuple[int, int], stride: tuple[int, int] = ONE) -> Made:
    return lambda image: MaxPool(image, kernel, stride)


# Windows of one group of channels, of several and whole; 4 bits, signs and sums without activation; a sum of pixels.
FROM_PIXELS: list[tuple[Made, int]] = [
    (convolution(4), 15), (depthwise((3, 3), 7, padding=1), 15), (max_pool((2, 2), (2, 2)), 0),
    (depthwise((2, 1), 7, stride=(2, 2)), -7), (depthwise((2, 1), 0), 3), (GlobalSum, 0),
]  # fmt: skip
FOLDING: dict[str, dict[str, Any]] = {
    "ConvolutionInputGenerator_rtl_1": {"SIMD": 2}, "Depthwise_rtl_0": {"PE": 2, "resType": "dsp"},
    "ConvolutionInputGenerator_rtl_2": {"SIMD": 4, "parallel_window": 1}, "MaxPool_rtl_0": {"PE": 4},
    "Depthwise_rtl_1": {"PE": 1, "ram_style": "block"}, "ConvolutionInputGenerator_rtl_4": {"SIMD": 2},
    "Depthwise_rtl_2": {"PE": 2}, "GlobalSum_rtl_0": {"PE": 2},
}  # fmt: skip
SHORT: list[tuple[Made, int]] = [
    (max_pool((2, 1)), 0), (depthwise((2, 2), 3), 0), (depthwise(ONE, 1), -7), (GlobalSum, 0),
]  # fmt: skip
SHORT_FOLDING: dict[str, dict[str, Any]] = {
    "ConvolutionInputGenerator_rtl_0": {"SIMD": 2}, "MaxPool_rtl_0": {"PE": 2}, "Depthwise_rtl_0": {"resType": "dsp"},
    "Depthwise_rtl_1": {"PE": 2},
}  # fmt: skip


def built(made: tuple[IntegerNetwork, Golden], folding: dict[str, dict[str, Any]], out: Path) -> Path:
    file = out / "folding.json"
    file.write_text(json.dumps(folding), encoding="utf-8")
    build_network(*made, out / "build", BuildConfig(folding=file), lambda _: None)
    return out / "build"


@pytest.mark.slow
def test_from_integers_to_rtl(tmp_path: Path) -> None:
    made = network(Input(9, 10), FROM_PIXELS)
    sim = simulate_network(built(made, FOLDING, tmp_path), *made, tmp_path / "sim", lambda _: None)
    assert (sim["images"], sim["differing"], sim["images_with_random_stalls"]) == (8, 0, 8)
    assert sim["initiation_interval"] == sim["estimated_interval"] and not sim["remarks"]


@pytest.mark.slow
def test_the_gates(tmp_path: Path) -> None:
    made = network(Input(4, 4, 2), SHORT)
    rtl = built(made, SHORT_FOLDING, tmp_path) / "rtl"
    design, golden = load_design(rtl), made[1]
    _, gates = simulate_gates(rtl, design, golden.pixels, family="xc7", scratch=tmp_path / "gates", stall_seed=1)
    np.testing.assert_array_equal(gates.outputs, golden.outputs)


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5])
def test_every_folding_computes_the_network(seed: int) -> None:
    """Where a window gives what is taken, or all of it at once."""
    register()
    rng, source = generator(seed), Input(9, 8, 2)
    kinds = ["depthwise", "max_pool", "convolution", "depthwise", "global_sum"][seed % 3 :]
    made = random_convolutional_network(kinds, [15, 0, 3, -7, 0][seed % 3 :], seed=seed, source=source, reach=7)
    pixels = rng.integers(0, 256, (3, *source.shape), dtype=np.uint8)
    graph, given = hardware_graph(made), 0
    for node in graph.graph.node:
        op, inst = layer_op(node), getCustomOp(node)
        layer = op.layer(graph, inst)
        folding = rng.choice([f for f in op.foldings(layer) if layer.takes(given, op.taken(f))])  # type: ignore[arg-type]
        given = op.given(layer, folding)
        for attribute, value in op.attributes(folding).items():
            inst.set_nodeattr(attribute, value)
    np.testing.assert_array_equal(execute(graph, pixels), made.outputs(pixels)[-1])


@pytest.mark.parametrize(
    ("folding", "message"),
    [
        ({"MaxPool_rtl_0": {"PE": 2}}, "gives 1 values at a time and MaxPool_rtl_0 takes 2, which must be as many"),
        ({"Depthwise_rtl_1": {"resType": "dsp"}}, "has resType 'dsp', but its numbers are too narrow for a DSP"),
        ({"Depthwise_rtl_0": {"PE": 4}}, "has PE 4, but it must divide NumChannels = 2"),
    ],
)
def test_a_folding_file_says_what_can_be_built(folding: dict[str, object], message: str, tmp_path: Path) -> None:
    register()
    made = network(Input(4, 4, 2), [(max_pool((2, 1)), 0), (depthwise((2, 2), 1), -7), (depthwise((1, 1), 1), -7)])
    file = tmp_path / "folding.json"
    file.write_text(json.dumps(folding), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        fold(hardware_graph(made[0]), BuildConfig(folding=file))
