"""FIFO depths: enough, and not one more. The model of the handshakes must agree with the RTL to the cycle."""

import itertools
import json
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qonnx.core.modelwrapper import ModelWrapper

from benchmarks.fifos import one_by_one
from finn_build.build import build
from finn_build.config import BuildConfig
from finn_build.fifos import Stage, bound, chain, fifo_depths, interval, latency_bound, stages
from finn_build.finn_session import finn_session
from finn_build.ops.fifo import SMALLEST, block_storage, make_fifo
from finn_build.ops.lut_mvau import LutMvu
from finn_build.ops.mvau import Mvu
from finn_build.ops.thresholding import Thresholding
from finn_build.ops.width_converter import converter
from finn_build.verify import simulate_build
from qnn.spec import NetworkSpec
from tests.random_networks import export_random


def layers(*shapes: tuple[str, int, int, int, int], bits: int = 2, thresholds: int = 1) -> list[Stage]:
    """Return a chain of (kind, MW, MH, SIMD, PE) with a threshold stage of PE `thresholds` between layers."""
    result: list[Stage] = []

    def convert(name: str, elements: int, bits: int, before: int, after: int) -> None:
        if before != after:
            cycles = elements // min(before, after)
            make = partial(converter, before * bits, after * bits)
            result.append(Stage(name, make, cycles, elements // before, before * bits))

    for i, (kind, mw, mh, simd, pe) in enumerate(shapes):
        convert(f"in{i}", mw, bits, thresholds if i else simd, simd)
        unit = Mvu if kind == "finn" else partial(LutMvu, weight_bits=1, act_bits=bits)
        make = partial(unit, beats=mw // simd, passes=mh // pe, simd=simd)
        result.append(Stage(f"layer{i}", make, mw // simd * (mh // pe), mw // simd, simd * bits, layer=True))
        if i < len(shapes) - 1:
            convert(f"out{i}", mh, 9, pe, thresholds)
            beats = mh // thresholds
            step = partial(Thresholding, bits=bits)
            result.append(Stage(f"thresholds{i}", step, beats, beats, thresholds * 9, layer=True))
    return result


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


@st.composite
def chains(draw: st.DrawFn) -> list[Stage]:
    sizes = [draw(st.sampled_from([4, 6, 12, 16, 24])) for _ in range(draw(st.integers(2, 4)))] + [1]
    shapes = [
        (draw(st.sampled_from(["finn", "lut"])), mw, mh, draw(st.sampled_from(divisors(mw))),
         draw(st.sampled_from(divisors(mh))))
        for mw, mh in itertools.pairwise(sizes)
    ]  # fmt: skip
    return layers(*shapes, bits=draw(st.integers(1, 3)))


def slowest(stages: Sequence[Stage]) -> int:
    return max(stage.cycles for stage in stages)


def stepped(stages: Sequence[Stage], depths: dict[str, int]) -> Fraction:
    """The interval without any shortcut: cycle by cycle from an empty chain, until its state repeats."""
    model, _ = chain(stages, depths)
    seen: dict[tuple[object, ...], tuple[int, int]] = {}
    cycle = left = 0
    while True:
        takes = [True]  # whether each part's sink takes a beat, from the end of the chain
        for part in reversed(model.parts):
            takes.insert(0, part.ready(takes[0]))
        moves = [takes[0], *(part.valid() and sink for part, sink in zip(model.parts, takes[1:], strict=True))]
        for part, taken, given_ in zip(model.parts, moves[:-1], moves[1:], strict=True):
            part.step(taken, given_)
        cycle += 1
        if moves[-1]:
            left += 1
            state = tuple(part.state() for part in model.parts)
            if state in seen:
                return Fraction(cycle - seen[state][0], left - seen[state][1])
            seen[state] = (cycle, left)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(chains())
def test_the_depths_are_enough_and_the_smallest(chained: list[Stage]) -> None:
    whole = {stage.name: bound(stage) for stage in chained}
    best = slowest(chained)
    assert interval(chained, whole) == best, "the analytic bound is enough"
    depths = fifo_depths(chained)
    assert depths == one_by_one(chained), "the search in groups finds the same"
    assert interval(chained, depths) == stepped(chained, depths) == best
    for name, depth in depths.items():
        assert SMALLEST <= depth <= whole[name]
        assert interval(chained, {**depths, name: depth - 1 if depth > SMALLEST else 0}) > best
    model, _ = chain(chained, depths)
    assert model.first_latency() <= latency_bound(with_fifos(chained, depths))


def with_fifos(stages: list[Stage], depths: dict[str, int]) -> list[Stage]:
    result = []
    for stage in stages:
        if stage.name in depths:
            make = partial(make_fifo, depths[stage.name])
            result.append(Stage(f"fifo of {stage.name}", make, stage.beats, stage.beats, stage.bits))
        result.append(stage)
    return result


# (kind, MW, MH, SIMD, PE) of each layer, bits of an activation, the FIFOs it needs. Layers of equal intervals are hard.
EQUAL = [("finn", 64, 64, 1, 4), ("finn", 64, 64, 1, 4), ("finn", 64, 1, 1, 1)]
CASES: dict[str, tuple[list[tuple[str, int, int, int, int]], int, dict[str, int]]] = {
    # FINN's buffer of 64 beats holds one vector of 64 and takes the next in its last pass only.
    "FINN's buffer": (EQUAL, 8, {"layer1": 28}),
    "a buffer of two vectors": ([("lut", *layer[1:]) for layer in EQUAL], 8, {}),
    "one pass takes beats as they come": ([EQUAL[0], EQUAL[2]], 8, {}),
    # Either of two streams may have the FIFO, and what was tried first has none. In front of the thresholds it would
    # be 9 bits wide, and 2 behind them: the narrowest stream first, or from end to start, would put it there.
    "the widest stream first": (
        [("finn", 4, 32, 1, 1), ("finn", 32, 24, 1, 1), ("finn", 24, 1, 8, 1)], 2, {"layer1": 11},
    ),
    # From start to end, one of the two FIFOs of 36 bits would do.
    "not from start to end": (
        [("finn", 4, 12, 1, 6), ("finn", 12, 12, 4, 4), ("lut", 12, 4, 6, 2), ("finn", 4, 12, 2, 4),
         ("finn", 12, 1, 6, 1)], 1, {"out1": 5, "out3": 5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_known_chains(name: str) -> None:
    shapes, bits, expected = CASES[name]
    assert fifo_depths(layers(*shapes, bits=bits)) == expected


@pytest.mark.parametrize(
    ("depth", "words"), [(258, 512), (513, 512), (514, 512 + 2), (700, 512 + 256), (960, 1024), (1030, 1024 + 8)]
)
def test_block_ram_words(depth: int, words: int) -> None:
    """As fifo.sv's ABITS, by hand: lo = clog2(depth - 1), and above 512 words a second memory if that can be small."""
    assert block_storage(depth) == words


def quiet(_: str) -> None:
    pass


def make_design(folder: Path, spec: dict[str, object], folding: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Build a random network and simulate it; return what sim.json holds."""
    export_random(folder / "export", NetworkSpec.model_validate(spec), count=60)
    (folder / "folding.json").write_text(json.dumps(folding), encoding="utf-8")
    build(folder / "export", folder / "build", BuildConfig(folding=folder / "folding.json"), quiet)
    return simulate_build(folder / "build", folder / "export", folder / "sim", quiet)


def predicted(folder: Path) -> tuple[Fraction, int]:
    """Return the interval and the first latency that the model of the built graph gives."""
    with finn_session(folder / "session"):
        (path,) = (folder / "build" / "steps").glob("*_insert_fifos.onnx")
        found = stages(ModelWrapper(str(path)))
    return interval(found, {}), chain(found, {})[0].first_latency()


# Two layers with the same interval in each.
DESIGNS: dict[str, tuple[dict[str, object], dict[str, dict[str, int]]]] = {
    "W4A2, FINN's layers only": (
        {"height": 8, "width": 8, "hidden": (32, 32), "weight_bits": 4, "act_bits": 2},
        {"MVAU_rtl_0": {"PE": 1, "SIMD": 8}, "MVAU_rtl_1": {"PE": 4, "SIMD": 1}, "MVAU_rtl_2": {"PE": 1, "SIMD": 1}},
    ),
    "mixed, and an input of 9 pixels from beats of 8": (
        {"height": 12, "width": 12, "hidden": (12, 16), "weight_bits": (8, 1, 8), "act_bits": (1, 8)},
        {"MVAU_rtl_0": {"PE": 1, "SIMD": 9}, "LutMVAU_rtl_0": {"PE": 1, "SIMD": 1}, "MVAU_rtl_1": {"PE": 1, "SIMD": 1}},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DESIGNS)
def test_rtl_does_what_the_model_says(name: str, tmp_path: Path) -> None:
    sim = make_design(tmp_path, *DESIGNS[name])
    assert sim["differing"] == 0 and sim["remarks"] == []
    assert predicted(tmp_path) == (sim["initiation_interval"], sim["first_latency_cycles"])
    assert sim["initiation_interval"] == sim["estimated_interval"]
    assert sim["first_latency_cycles"] <= sim["latency_bound_cycles"]
    assert all(fifo["peak"] == fifo["depth"] for fifo in sim["fifos"] if fifo["depth"] > SMALLEST)
    if "input" in name:
        return
    (fifo,) = sim["fifos"]
    assert fifo["depth"] > SMALLEST
    one_less_costs_cycles(tmp_path, fifo["name"], fifo["depth"], sim["estimated_interval"])


def one_less_costs_cycles(folder: Path, name: str, depth: int, estimated: int) -> None:
    wrapper = folder / "build" / "rtl" / f"{name}.v"
    text = wrapper.read_text(encoding="utf-8")
    assert text.count(f".DEPTH({depth})") == 1
    wrapper.write_text(text.replace(f".DEPTH({depth})", f".DEPTH({depth - 1})"), encoding="utf-8")
    again = simulate_build(folder / "build", folder / "export", folder / "again", quiet)
    assert again["differing"] == 0 and again["initiation_interval"] > estimated
    assert any("waits for a FIFO that is too shallow" in remark for remark in again["remarks"])
