"""The slowest node is the one whose own cycles are the design's, whatever its streams look like.

The kind of fault: counters of streams taken for work. A unit that computes 64 of 117 cycles takes 3 beats, and one that
passes 64 beats on computes nothing; the second is no reason to fold anything.
"""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finn_build.measure import measure, slowest
from finn_build.ops.op import Node
from finn_build.records import Estimates
from finn_build.simulate import SimResult, StreamUse
from finn_build.stitch import Design

OPS = ["MVAU_rtl", "LutMVAU_rtl", "Thresholding_rtl", "StreamingDataWidthConverter_rtl", "StreamingFIFO_rtl"]
LAYERS = OPS[:3]


def node(op_type: str, cycles: int, number: int = 0) -> Node:
    return Node(f"{op_type}_{number}", op_type, 8, 8, 0, 1, 8, cycles, depth=32 if "FIFO" in op_type else 0)


def test_a_slow_early_layer_before_one_of_many_beats() -> None:
    """Counters as Verilator gave them, rounded, for 117-3-64-1 with 2-bit weights at target_fps max."""
    cycles = {"MVAU_rtl_0": 117, "Thresholding_rtl_0": 3, "MVAU_rtl_1": 64, "Thresholding_rtl_1": 64, "MVAU_rtl_2": 64}
    nodes = [replace(node(name[:-2], count), name=name) for name, count in cycles.items()]
    images, beats = 100, [117, 3, 3, 64, 64, 1]
    uses = [StreamUse(n * images, 0, (117 - n) * images) for n in beats]
    finished = 300 + 117 * np.arange(images)
    finished[0] -= 28  # it found no other image before it
    result = SimResult(np.zeros((images, 1), int), finished, 117 * images, tuple(uses), (), ((),) * 6, 1.0)
    estimates = Estimates.model_validate(
        {
            "cycles_per_image": 117, "images_per_s": 1e9 / 1170, "latency_cycles": 312,
            "layers": [{"name": n, "cycles": c, "LUT": 0, "BRAM_18K": 0, "DSP": 0} for n, c in cycles.items()],
        }
    )  # fmt: skip
    design = Design(nodes=tuple(nodes), sources=(), simd=1, in_beats=117, out_bits_used=8)
    found = measure(result, design, estimates, clk_ns=10)
    assert (found["slowest"], found["initiation_interval"], found["remarks"]) == (["MVAU_rtl_0"], 117, [])
    assert {name for name, count in cycles.items() if estimates.needed(count) == 1} == {"MVAU_rtl_0"}


@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(1, 9)), min_size=1), st.integers(0, 12))
def test_they_are_those_that_need_all_of_the_cycles(chain: list[tuple[str, int]], port: int) -> None:
    nodes = [node(op_type, cycles, i) for i, (op_type, cycles) in enumerate(chain)]
    computing = [cycles for op_type, cycles in chain if op_type != OPS[-1]]
    interval = max([port, *computing])
    found = {int(name.rsplit("_", 1)[1]) for name in slowest(nodes, interval)}
    assert all(chain[i][1] == interval for i in found)
    layers = {i for i, (op_type, cycles) in enumerate(chain) if op_type in LAYERS and cycles == interval}
    assert found == layers if layers else bool(found) == (interval in computing)
