"""What the cocotb benches share that run every folding of a unit at the same time."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

RNG = random.Random(1)
LANE = 64  # bits of the bench's data ports per unit


def pack(values: list[int], bits: int) -> int:
    """Pack a beat, the first value in the low bits; values may be negative."""
    return sum((value % 2**bits) << (i * bits) for i, value in enumerate(values))


class Bench:
    """All units on one clock; one decision and one look per cycle."""

    def __init__(self, dut: Any, unit: Callable[[dict[str, Any]], Any]) -> None:
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


async def make(dut: Any, unit: Callable[[dict[str, Any]], Any]) -> Bench:
    """Return a bench with one `unit` per case of case.json, after reset."""
    bench = Bench(dut, unit)
    await bench.start()
    return bench


async def with_pauses(bench: Bench) -> None:
    """Let images through while source and sink pause."""
    for source, sink in [(0.5, 0.5), (0.9, 0), (0, 0.9), (0.2, 0.7)]:
        for unit in bench.units:
            unit.queue(6)
        await bench.run(source=source, sink=sink)
    await bench.run(source=0, sink=0, cycles=50)  # nothing more comes


async def with_resets(bench: Bench, cycles: int) -> None:
    """Reset after 1, 2, ... cycles, fewer than `cycles`; what comes after the last is as if there had been none."""
    for after in range(1, cycles):
        for unit in bench.units:
            unit.queue(3)
        await bench.run(source=0.2, sink=0.5 * (after % 2), cycles=after)
        await bench.reset()
    for unit in bench.units:
        unit.queue(3)
    await bench.run(source=0, sink=0)
