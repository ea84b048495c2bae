"""`build.stream_bits`: an input stream of the width that somebody asks for, from the search to the simulated board.

The kind of fault: a width that is asked for and not had, or had by some of those who must agree on it (search,
estimate, RTL, testbench, driver). What cannot be had is refused before anything is trained, with what can.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.errors import ConfigError
from contract.golden import Golden
from contract.network import Input
from contract.values import VALUES
from driver.axi_dma import AxiDmaLink
from driver.reference import Reference
from driver.simulated.device import SimulatedDevice
from driver.simulated.stand_in import StandIn
from driver.simulated.verilated import VerilatedCore
from driver.witness import find_witness
from finn_build.build import build_network
from finn_build.config import BuildConfig
from finn_build.folding import Problem, fastest, smallest, solve
from finn_build.foresight import Shape, foresee
from finn_build.stitch import load_design
from finn_build.targets.boards import BOARDS
from finn_build.verify import simulate_network
from tests.finn_build.test_folding import PLENTY, at, mlp
from tests.finn_build.test_several_outputs import hardware
from tests.integer_networks import random_integer_network
from tests.randomness import generator

WIDTHS = (8, 16, 32, 64, 128)
NETWORK = [Shape(784, 64, 8, 8), Shape(64, 1, 8, None)]


def built(folder: Path, source: Input, **config: Any) -> tuple[Any, Golden, Any, dict[str, Any]]:
    """A random network of 12 and 5 neurons as RTL, simulated on 12 images; returns it, images, design and sim.json."""
    network = random_integer_network([12, 5], [3, 0], seed=5, source=source, reach=7)
    pixels = source.values.random(generator(6), (12, *source.shape))
    golden = Golden(pixels, network.outputs(pixels)[-1])
    build_network(network, golden, folder / "build", BuildConfig(**config), lambda _: None)
    sim = simulate_network(folder / "build", network, golden, folder / "sim", lambda _: None)
    return network, golden, load_design(folder / "build" / "rtl"), sim


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "bits", "board", "lanes"),
    [
        (Input(6, 10), 8, "pynq-z2", 1),
        (Input(6, 10), 32, "pynq-z2", 4),
        (Input(8, 8), 128, "zcu104", 16),
        (Input(4, 3, 2, "int5"), 16, "pynq-z2", 3),  # 15 bits and one that is nothing
    ],
)
def test_every_image_over_a_stream_of_that_width(
    tmp_path: Path, source: Input, bits: int, board: str, lanes: int
) -> None:
    config = {"board": board, "stream_bits": bits, "target_fps": "max"}
    network, golden, design, sim = built(tmp_path, source, **config)
    assert (design.in_bits, design.simd, design.in_beats) == (bits, lanes, source.size // lanes)
    assert sim["differing"] == 0 and sim["initiation_interval"] == sim["estimated_interval"] >= design.in_beats
    with VerilatedCore(
        tmp_path / "sim" / "harness",
        tmp_path / "build" / "rtl",
        beats=design.in_beats,
        beat_bytes=bits // 8,
        results=1,
    ) as core:
        device, reference = hardware(design, source, "axi_dma"), Reference(network)
        witness = find_witness(reference, golden.pixels, lanes=lanes, result_bytes=4)
        link = AxiDmaLink(StandIn(SimulatedDevice(device, core)), {}, device, witness, capacity=12, timeout_s=20.0)
        link.stage(0, golden.pixels)
        link.start(0, 12)
        np.testing.assert_array_equal(link.finish(0, 12), golden.outputs)
        link.close()


def pinned(bits: int | None, board: str = "pynq-z2") -> Problem:
    return Problem(mlp().layers, BOARDS[board], PLENTY, bits)


@pytest.mark.parametrize(("bits", "cycles"), [(8, 784), (16, 392), (32, 196), (64, 98)])
def test_no_folding_is_faster_than_the_stream(bits: int, cycles: int) -> None:
    found = fastest(pinned(bits))
    assert found is not None and found.cycles == pinned(bits).stream_cycles == cycles
    assert smallest(pinned(bits), cycles - 1) is None
    with pytest.raises(ConfigError, match=rf"{cycles:,} in which the DMA of pynq-z2 sends one") as refused:
        solve(pinned(bits), at(cycles - 1))
    assert ("wider stream" in str(refused.value)) == (bits < 64)


def test_what_the_board_or_the_image_does_not_allow_is_refused_with_what_they_do() -> None:
    with pytest.raises(ValidationError, match="'stream_bits' is 128, but the DMA of pynq-z2 has 64"):
        BuildConfig(stream_bits=128, target_fps=1)
    with pytest.raises(
        ConfigError, match=r"is 64, but the beats must divide an image of 36 values .* can be 8, 16, 32"
    ):
        BOARDS["pynq-z2"].stream_pixels(36, stream_bits=64)
    odd = [Shape(27 * 27, 4, 8, 8), Shape(4, 1, 8, None)]
    with pytest.raises(ConfigError, match=r"'build.stream_bits' is 16.* can be 8\."):
        foresee(odd, BuildConfig(stream_bits=16, target_fps=1000))
    with pytest.raises(ConfigError, match=r"8 bits of 'build.stream_bits'.*wider stream"):
        foresee(NETWORK, BuildConfig(stream_bits=8, target_fps=200_000))
    assert foresee(NETWORK, BuildConfig(stream_bits=8, target_fps=100_000)) == []
    with pytest.raises(ValidationError):
        BuildConfig(stream_bits=24, target_fps=1)  # type: ignore[arg-type]


@given(
    st.sampled_from(sorted(BOARDS)),
    st.integers(1, 2000),
    st.sampled_from(sorted(VALUES)),
    st.sampled_from(WIDTHS),
)
def test_the_width_is_the_one_that_was_asked_for(board: str, pixels: int, values: str, bits: int) -> None:
    each = VALUES[values].bits
    try:
        lanes = BOARDS[board].stream_pixels(pixels, each, stream_bits=bits)
    except ConfigError:
        fitting = [p for p in range(1, bits // each + 1) if pixels % p == 0 and 8 * -(-p * each // 8) == bits]
        assert bits > BOARDS[board].dma_bits or not fitting
        return
    assert 8 * VALUES[values].beat_bytes(lanes) == bits <= BOARDS[board].dma_bits and pixels % lanes == 0
