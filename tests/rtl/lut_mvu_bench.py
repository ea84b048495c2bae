"""cocotb bench for lut_mvu; test_lut_mvu.py builds and runs it. Every folding of every layer runs at the same time."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly
from numpy.typing import NDArray

RNG = random.Random(1)
LANE = 64  # bits of the bench's data ports per unit


def elements(array: NDArray[np.int64], bits: int) -> int:
    """Pack a beat, the first element in the low bits; 1 bit is bipolar."""
    coded = (array > 0).astype(int) if bits == 1 else array
    return sum((int(value) & ((1 << bits) - 1)) << (i * bits) for i, value in enumerate(coded))


class Unit:
    """One folding: what it still has to be sent, what it must answer, and when answers came."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.name, self.pe, self.simd, self.answer_bits = (case[k] for k in ("name", "pe", "simd", "answer_bits"))
        self.low, self.high, self.act_bits = case["activations"]
        self.weights, self.thresholds = np.array(case["weights"]), case["thresholds"]
        self.interval = self.weights.size // (self.pe * self.simd)
        self.passes = len(self.weights) // self.pe
        self.clear()

    def clear(self) -> None:
        self.to_send: list[int] = []
        self.expected: list[int] = []
        self.finished: list[int] = []  # cycles in which answers were taken
        self.offering = False
        self.refused: int | None = None  # the answer that waited in the cycle before

    def images(self, count: int) -> NDArray[np.int64]:
        """(count, columns): all the least, all the greatest, then random."""
        levels = [-1, 1] if self.act_bits == 1 else range(self.low, self.high + 1)
        images = np.array([[RNG.choice(levels) for _ in self.weights[0]] for _ in range(count)])
        images[:2] = [[self.low], [self.high]]
        return images

    def queue(self, count: int) -> None:
        """Add images, three or more."""
        for image in self.images(count):
            self.to_send += [elements(beat, self.act_bits) for beat in image.reshape(-1, self.simd)]
            answers = self.weights @ image
            if self.thresholds is not None:
                answers = np.where(answers >= self.thresholds, 1, -1)
            self.expected += [elements(beat, self.answer_bits) for beat in answers.reshape(-1, self.pe)]


class Bench:
    """All units on one clock; one decision and one look per cycle."""

    def __init__(self, dut: Any, unit: Callable[[dict[str, Any]], Any] = Unit) -> None:
        self.dut = dut
        self.units = [unit(case) for case in json.loads(Path("case.json").read_text(encoding="utf-8"))]
        self.cycle = 0

    async def start(self) -> None:
        cocotb.start_soon(Clock(self.dut.clk, 10, unit="ns").start())
        await self.reset()

    async def reset(self) -> None:
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 1
        for _ in range(3):
            await FallingEdge(self.dut.clk)
        await ReadOnly()
        assert int(self.dut.s_tready.value) == 0 and int(self.dut.m_tvalid.value) == 0
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0
        for unit in self.units:
            unit.clear()

    async def run(self, *, source: float, sink: float, cycles: int | None = None) -> None:
        """Until every unit answered everything, or for so many cycles; `source` and `sink` pause this often."""
        limit = self.cycle + (cycles or 5_000)
        while self.cycle < limit and (cycles is not None or any(unit.expected for unit in self.units)):
            await self._one_cycle(source, sink)
        assert cycles is not None or not any(unit.expected for unit in self.units), "it never finishes"

    async def _one_cycle(self, source: float, sink: float) -> None:
        valid = data = ready = 0
        for i, unit in enumerate(self.units):
            unit.offering = bool(unit.to_send) and (unit.offering or RNG.random() >= source)
            valid |= unit.offering << i
            data |= (unit.to_send[0] if unit.offering else RNG.getrandbits(LANE)) << (LANE * i)
            ready |= (RNG.random() >= sink) << i
        self.dut.s_tvalid.value, self.dut.s_tdata.value, self.dut.m_tready.value = valid, data, ready
        await ReadOnly()
        taken, offered = int(self.dut.s_tready.value), int(self.dut.m_tvalid.value)
        results = int(self.dut.m_tdata.value)
        for i, unit in enumerate(self.units):
            if valid & taken & (1 << i):
                unit.to_send.pop(0)
                unit.offering = False
            result = (results >> (LANE * i)) & (2**LANE - 1) if offered & (1 << i) else None
            assert unit.refused in (None, result), "an answer that waits must stay"
            unit.refused = None
            if result is not None and ready & (1 << i):
                assert unit.expected and result == unit.expected.pop(0), unit.name
                unit.finished.append(self.cycle)
            elif result is not None:
                unit.refused = result
        self.cycle += 1
        await FallingEdge(self.dut.clk)


async def make(dut: Any) -> Bench:
    bench = Bench(dut)
    await bench.start()
    return bench


@cocotb.test()  # type: ignore[untyped-decorator]
async def back_to_back_without_a_bubble(dut: Any) -> None:
    bench = await make(dut)
    for unit in bench.units:
        unit.queue(8)
    await bench.run(source=0, sink=0)
    for unit in bench.units:
        beats = unit.interval // unit.passes  # from one answer to the next, across images too
        assert set(np.diff(unit.finished)) == {beats}, unit.name


@cocotb.test()  # type: ignore[untyped-decorator]
async def pauses_of_source_and_sink(dut: Any) -> None:
    bench = await make(dut)
    for source, sink in [(0.5, 0.5), (0.9, 0), (0, 0.9), (0.2, 0.7)]:
        for unit in bench.units:
            unit.queue(6)
        await bench.run(source=source, sink=sink)
    await bench.run(source=0, sink=0, cycles=50)  # nothing more comes


@cocotb.test()  # type: ignore[untyped-decorator]
async def reset_in_the_middle_of_everything(dut: Any) -> None:
    bench = await make(dut)
    for cycles in range(1, 40):
        for unit in bench.units:
            unit.queue(3)
        await bench.run(source=0.2, sink=0.5 * (cycles % 2), cycles=cycles)
        await bench.reset()
    for unit in bench.units:
        unit.queue(3)
    await bench.run(source=0, sink=0)
