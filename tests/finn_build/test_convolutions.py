"""Convolutions, from integers to RTL: windows and their padding in front of products of places.

The kind of fault: a window in another order than the weights, an image that begins before the one before it ended, or
padding that is not the value that the network has there.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from contract.golden import Golden
from contract.network import Convolution, Dense, Image, Input, IntegerNetwork, Layer, Window
from finn_build import compiled_chain
from finn_build.build import build_network
from finn_build.config import BuildConfig
from finn_build.ops.fifo import make_fifo
from finn_build.ops.lut_mvau import LutMvu
from finn_build.ops.mvau import Mvu
from finn_build.ops.padding import Fmpadding
from finn_build.ops.reduction import Reduce
from finn_build.ops.requantizer import Requantize
from finn_build.ops.thresholding import Thresholding
from finn_build.ops.width_converter import converter
from finn_build.ops.window import Geometry, cycles
from finn_build.ops.window import part as window_part
from finn_build.timing import Chain, Part
from finn_build.verify import simulate_network
from tests.integer_networks import activated
from tests.randomness import generator

FOLDING = {
    "ConvolutionInputGenerator_rtl_0": {"SIMD": 1, "parallel_window": 1},
    "MVAU_rtl_0": {"SIMD": 25, "PE": 4, "resType": "dsp"},
    "Thresholding_rtl_0": {"PE": 2},
    "ConvolutionInputGenerator_rtl_1": {"SIMD": 4, "parallel_window": 1},
    "MVAU_rtl_1": {"SIMD": 12, "PE": 2},
    "Thresholding_rtl_1": {"PE": 2},
    "LutMVAU_rtl_1": {"SIMD": 8, "PE": 4, "ram_style": "block"},
    "ConvolutionInputGenerator_rtl_2": {"SIMD": 2, "ram_style": "block"},
}


def a_network() -> IntegerNetwork:
    """Both forms of windows, one of a single place and none; padding of pixels of 128 and of 0; 1, 4 and 8 bits."""
    rng = generator(3)
    shapes: list[tuple[tuple[int, int, int], int, tuple[int, int], int, int, int]] = [
        # channels and window, largest weight, stride, padding, what stands in it, levels
        ((4, 5, 5), 127, (2, 2), 2, 128, 15),
        ((6, 3, 3), 7, (1, 1), 1, 0, 3),
        ((4, 1, 1), 0, (1, 1), 0, 0, 0),
        ((4, 2, 3), 0, (2, 1), 0, 0, -7),
    ]
    image: Image = (12, 11, 1)
    layers: list[Layer] = []
    low, high = 0, 255
    for (channels, height, width), reach, stride, padding, fill, levels in shapes:
        values = range(-reach, reach + 1) if reach else (-1, 1)
        weights = rng.choice(values, (channels, height, width, image[2]))
        around = (padding,) * 4
        layer = Convolution(weights.astype(np.int8), None, image=image, stride=stride, padding=around, fill=fill)
        layer = activated(rng, layer, levels, low, high)
        layers.append(layer)
        (low, high), image = layer.output_range(), layer.output_shape  # type: ignore[assignment]
    weights = rng.integers(-7, 8, (2, int(np.prod(image))))
    return IntegerNetwork(Input(12, 11), (*layers, Dense(weights.astype(np.int8), None)))


def test_from_integers_to_rtl(tmp_path: Path) -> None:
    network = a_network()
    pixels = generator(4).integers(0, 256, (12, 12, 11), dtype=np.uint8)
    golden = Golden(pixels, network.outputs(pixels)[-1])
    folding = tmp_path / "folding.json"
    folding.write_text(json.dumps(FOLDING), encoding="utf-8")
    build_network(network, golden, tmp_path / "build", BuildConfig(folding=folding), lambda _: None)
    found = simulate_network(tmp_path / "build", network, golden, tmp_path / "sim", lambda _: None)
    assert found["differing"] == 0
    assert found["initiation_interval"] == found["estimated_interval"]
    assert found["first_latency_cycles"] <= found["latency_bound_cycles"]
    nodes = json.loads((tmp_path / "build" / "rtl" / "design.json").read_text(encoding="utf-8"))["nodes"]
    assert (nodes[0]["takes"], nodes[-1]["gives"]) == ([12, 11, 1], [2])
    assert all(np.prod(one["gives"]) == np.prod(after["takes"]) for one, after in pairwise(nodes))


IMAGE: Image = (9, 10, 2)


def a_chain(beats: int, window: Window, bits: int) -> list[Part]:
    """Parts of every kind, around a window of `beats` beats a place; of one beat, all of it comes at once."""
    parallel = beats == 1
    into = window.kernel[0] * window.kernel[1] * 2 * bits if parallel else 2 // beats * bits
    unit = LutMvu(beats=6, passes=2, simd=3, weight_bits=3, act_bits=4) if parallel else Mvu(beats=6, passes=2, simd=3)
    return [
        Fmpadding(image=(7, 8, 2), padding=(1, 1, 1, 1), beats=beats),
        window_part(Geometry(IMAGE, window, beats, parallel=parallel)),
        make_fifo(13), converter(into, 3 * bits), unit, Thresholding(bits=3), converter(3, 1), converter(1, 6),
        Reduce(beats=3, results=2, stages=beats - 1), make_fifo(300), Requantize(steps=2, digit=4, in_luts=parallel),
    ]  # fmt: skip


@pytest.mark.parametrize("beats", [1, 2])
def test_the_compiled_chain_does_what_the_python_one_does(beats: int) -> None:
    window = Window((3, 3), (2, 1))
    for slowest in range(4, 10):
        chains = (Chain(a_chain(beats, window, 4), results=16) for _ in range(2))
        assert compiled_chain.parts([compiled_chain.shape(part) for part in a_chain(beats, window, 4)])
        assert compiled_chain.interval(next(chains), slowest, 64) == next(chains).interval(slowest, 64)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_window_generator_gives_an_image_and_is_as_it_was(parallel: bool, depthwise: bool) -> None:
    """Every output beat once, none before the beats that it is of, and no faster than one a cycle."""
    window = Window((3, 2), (2, 3))
    geometry = Geometry(IMAGE, window, 1 if parallel else 2, depthwise, parallel)
    needed, _ = geometry.order()
    assert len(needed) == 4 * 3 * (1 if parallel else 12)
    seen = [view for _, _, view in window.seen(np.arange(180).reshape(1, *IMAGE), IMAGE)]
    if not parallel and not depthwise:  # two channels a place, one a beat
        np.testing.assert_array_equal(needed, np.stack(seen, axis=3).ravel())
    assert geometry.refusal() == ""
    found, least = cycles(geometry), max(len(needed), 90 * geometry.beats)
    assert least <= found <= least + geometry.span + 3 * 10 * geometry.beats
