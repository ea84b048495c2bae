"""K integers per image: through RTL and gates to the simulated boards of both shells.

The kind of fault: an end of the chain that takes an image for one result, or a last layer for one that gives its
results one by one: its outputs in parallel, the converter behind them, TLAST, and how many results a transfer brings.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.golden import Golden
from contract.manifest import Hardware, Stream
from contract.network import Dense, Input, IntegerNetwork
from contract.shells import CELLS
from driver.axi_dma import AxiDmaLink
from driver.finn_iodma import FinnIodmaLink
from driver.link import BoardLink
from driver.reference import Reference
from driver.simulated.device import SimulatedDevice
from driver.simulated.stand_in import StandIn
from driver.simulated.verilated import VerilatedCore
from driver.witness import find_witness
from finn_build.build import build_network
from finn_build.config import BuildConfig
from finn_build.gates import simulate_gates
from finn_build.simulate import simulate, verilate
from finn_build.stitch import Design, load_design
from finn_build.verify import simulate_network
from tests.integer_networks import random_integer_network
from tests.randomness import generator

SOURCE = Input(4, 3, 2, "int5")
LINKS: dict[str, type[BoardLink]] = {"axi_dma": AxiDmaLink, "finn_iodma": FinnIodmaLink}


def a_network() -> IntegerNetwork:
    rng = generator(11)
    first = Dense(
        rng.integers(-7, 8, (8, SOURCE.size), dtype=np.int8), np.sort(rng.integers(-300, 300, (8, 5)), axis=1)
    )
    signs = Dense(rng.integers(-3, 4, (6, 8), dtype=np.int8), rng.integers(-9, 9, (6, 1)), bipolar=True)
    return IntegerNetwork(SOURCE, (first, signs, Dense(rng.integers(-7, 8, (3, 6), dtype=np.int8), None)))


def hardware(design: Design, source: Input, shell: str) -> Hardware:
    beat, results = design.in_bits, design.results
    return Hardware(
        shell=shell,
        board="pynq-z2",
        part="xc7z020clg400-1",
        clock_mhz=100.0,
        input=Stream(
            list(source.shape), source.datatype, [design.in_beats, design.simd], design.in_beats * beat // 8, beat
        ),
        output=Stream([results], "int32", [results, 1], 4 * results, 32),
        dma=dict(CELLS[shell]),
        cycles_per_image=design.in_beats,
    )


@pytest.mark.slow
def test_from_integers_to_both_boards(tmp_path: Path) -> None:
    network = a_network()
    images = SOURCE.values.random(generator(12), (40, *SOURCE.shape))
    want = network.outputs(images)[-1]
    assert len(np.unique(want, axis=0)) > 10
    golden = Golden(images, want)
    build_network(network, golden, tmp_path / "build", BuildConfig(target_fps=12_500_000), lambda _: None)
    rtl = tmp_path / "build" / "rtl"
    design = load_design(rtl)
    assert (design.results, design.datatype, design.nodes[-1].pe) == (3, "int5", 1)
    sim = simulate_network(tmp_path / "build", network, golden, tmp_path / "sim", lambda _: None)
    assert (sim["images"], sim["differing"]) == (40, 0)
    assert sim["initiation_interval"] == sim["estimated_interval"]
    _, gates = simulate_gates(rtl, design, images[:6], family="xc7", scratch=tmp_path / "gates", stall_seed=3)
    assert gates.outputs.tolist() == want[:6].tolist()
    with core_of(tmp_path / "sim" / "harness", rtl, design) as core:
        check_boards(core, network, design, images)


def core_of(program: Path, rtl: Path, design: Design) -> VerilatedCore:
    beats, beat_bytes = design.in_beats, design.in_bits // 8
    return VerilatedCore(program, rtl, beats=beats, beat_bytes=beat_bytes, results=design.results)


def check_boards(core: VerilatedCore, network: IntegerNetwork, design: Design, images: NDArray[Any]) -> None:
    """A transfer brings the results of all its images in one piece, whatever came before it."""
    want = network.outputs(images)[-1]
    witness = find_witness(Reference(network), images, lanes=design.simd, result_bytes=4)
    for shell, kind in LINKS.items():
        board = hardware(design, network.input, shell)
        runtime = StandIn(SimulatedDevice(board, core))
        link = kind(runtime, {}, board, witness, capacity=len(images), timeout_s=20.0, progress=core.progress)
        for count in (len(images), 1):
            link.stage(0, images[:count])
            link.start(0, count)
            assert link.finish(0, count).tolist() == want[:count].tolist()
        link.close()


WAYS = [(3, 3), (10, 2), (10, 10), (100, 20)]  # K, and how many the last layer computes at a time; above it is one


@pytest.mark.slow
@pytest.mark.parametrize(("outputs", "parallel"), WAYS)
def test_outputs_in_parallel(tmp_path: Path, outputs: int, parallel: int) -> None:
    network = random_integer_network([6], [7], seed=6, height=2, width=3, outputs=outputs, reach=3)
    images = network.input.values.random(generator(13), (24, *network.input.shape))
    want = network.outputs(images)[-1]
    assert len(np.unique(want, axis=0)) > 15
    sizes = {"MVAU_rtl_0": (1, 2), "Thresholding_rtl_0": (1, None), "MVAU_rtl_1": (parallel, 2)}
    folding = {name: {"PE": pe} | ({"SIMD": simd} if simd else {}) for name, (pe, simd) in sizes.items()}
    (tmp_path / "folding.json").write_text(json.dumps(folding))
    config = BuildConfig(folding=tmp_path / "folding.json")
    build_network(network, Golden(images, want), tmp_path / "build", config, lambda _: None)
    rtl = tmp_path / "build" / "rtl"
    design = load_design(rtl)
    harness = verilate(rtl, design, tmp_path / "sim", checked=True)
    plain = simulate(harness, rtl, design, images)
    assert plain.outputs.tolist() == want.tolist()
    estimates = json.loads((tmp_path / "build" / "estimates.json").read_text())
    assert plain.finished[-1] - plain.finished[12] == 11 * estimates["cycles_per_image"] >= 11 * outputs
    for seed in range(3):
        assert simulate(harness, rtl, design, images, stall_seed=seed).outputs.tolist() == want.tolist()
    with core_of(harness, rtl, design) as core:
        for count in (1, 2):  # transfers: TLAST comes with an image's last result, and with no other
            for first in range(0, 4, count):
                got = core.send(design.pack(images[first : first + count]).tobytes(), True)
                results = want[first : first + count].reshape(-1).tolist()
                assert got == [(value, i == len(results)) for i, value in enumerate(results, 1)]
        check_boards(core, network, design, images)
