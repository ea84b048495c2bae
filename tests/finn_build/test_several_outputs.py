"""Three integers per image, of signed values: through RTL and gates to the simulated boards of both shells."""

from pathlib import Path

import numpy as np
import pytest

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
from finn_build.stitch import Design, load_design
from finn_build.verify import simulate_network
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


def hardware(design: Design, shell: str) -> Hardware:
    source, beat = SOURCE.values, design.in_bits
    return Hardware(
        shell=shell,
        board="pynq-z2",
        part="xc7z020clg400-1",
        clock_mhz=100.0,
        input=Stream(
            list(SOURCE.shape), source.name, [design.in_beats, design.simd], design.in_beats * beat // 8, beat
        ),
        output=Stream([3], "int32", [3, 1], 12, 32),
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
    for shell, kind in LINKS.items():
        board = hardware(design, shell)
        witness = find_witness(Reference(network), images, lanes=design.simd, result_bytes=4)
        program = tmp_path / "sim" / "harness"
        beat_bytes = design.in_bits // 8
        with VerilatedCore(program, rtl, beats=design.in_beats, beat_bytes=beat_bytes, results=3) as core:
            runtime = StandIn(SimulatedDevice(board, core))
            link = kind(runtime, {}, board, witness, capacity=40, timeout_s=20.0, progress=core.progress)
            for count in (40, 1):
                link.stage(0, images[:count])
                link.start(0, count)
                assert link.finish(0, count).tolist() == want[:count].tolist()
            link.close()
