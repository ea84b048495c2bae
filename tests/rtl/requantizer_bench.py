"""cocotb bench for requantizer; test_requantizer.py builds and runs it. Every case runs at the same time."""

from typing import Any

import cocotb
import numpy as np

from tests.rtl.units_bench import RNG, make, pack, with_pauses, with_resets


class Unit:
    """One case: what it still has to be sent, what it must answer, and when answers came."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.name, self.pe, self.acc_bits, self.out_bits = (case[k] for k in ("name", "pe", "acc_bits", "out_bits"))
        self.low, self.high = map(int, case["reach"])
        self.factors: list[int] = case["factors"]
        self.addends: list[int] = case["addends"]
        self.shift, self.levels = int(case["shift"]), int(case["levels"])
        self.interval = case["steps"]  # cycles per beat
        self.clear()

    def clear(self) -> None:
        self.to_send: list[int] = []
        self.expected: list[int] = []
        self.finished: list[int] = []
        self.offering = False
        self.refused: int | None = None

    def answer(self, channel: int, acc: int) -> int:
        """The definition, in Python's integers."""
        y = (acc * self.factors[channel] + self.addends[channel]) >> self.shift
        return min(max(y, 0), self.levels)

    def near_a_step(self, channel: int) -> int:
        """Return an accumulator beside one at which the answer changes, if there is one within reach."""
        factor = self.factors[channel]
        level = RNG.randint(1, self.levels) << self.shift
        edge = (level - self.addends[channel]) // factor if factor else 0
        return min(max(edge + RNG.randint(-1, 1), self.low), self.high)

    def queue(self, count: int) -> None:
        """Add images: all the least, all the greatest, then random ones and some beside a step."""
        for i in range(count):
            ends = (self.low, self.high)
            image = [
                ends[i] if i < 2 else self.near_a_step(c) if RNG.random() < 0.7 else RNG.randint(self.low, self.high)
                for c in range(len(self.factors))
            ]
            for first in range(0, len(image), self.pe):
                beat = range(first, first + self.pe)
                self.to_send.append(pack([image[c] for c in beat], self.acc_bits))
                self.expected.append(pack([self.answer(c, image[c]) for c in beat], self.out_bits))


@cocotb.test()  # type: ignore[untyped-decorator]
async def back_to_back_without_a_bubble(dut: Any) -> None:
    bench = await make(dut, Unit)
    for unit in bench.units:
        unit.queue(8)
    await bench.run(source=0, sink=0)
    for unit in bench.units:
        assert set(np.diff(unit.finished)) == {unit.interval}, unit.name


@cocotb.test()  # type: ignore[untyped-decorator]
async def pauses_of_source_and_sink(dut: Any) -> None:
    await with_pauses(await make(dut, Unit))


@cocotb.test()  # type: ignore[untyped-decorator]
async def reset_in_the_middle_of_everything(dut: Any) -> None:
    await with_resets(await make(dut, Unit), 30)
