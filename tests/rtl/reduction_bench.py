"""cocotb bench for what reduces, and for our windows; test_reductions.py builds and runs it. All run at once."""

from typing import Any

import cocotb
import numpy as np

from tests.rtl.units_bench import RNG, make, with_pauses, with_resets


class Unit:
    """One unit: what it still has to be sent, what it must answer, and when answers came."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.name: str = case["name"]
        self.images: list[list[int]] = case["images"]  # beats
        self.answers: list[list[int]] = case["answers"]
        self.times: list[int] = case["times"]  # the cycles in which the answers of four images come, but for a constant
        self.clear()

    def clear(self) -> None:
        self.to_send: list[int] = []
        self.expected: list[int] = []
        self.finished: list[int] = []
        self.offering = False
        self.refused: int | None = None

    def queue(self, count: int) -> None:
        """Add images: all the least, all the greatest, then others."""
        for i in range(count):
            chosen = i if i < 2 else RNG.randrange(len(self.images))
            self.to_send += self.images[chosen]
            self.expected += self.answers[chosen]


@cocotb.test()  # type: ignore[untyped-decorator]
async def back_to_back_without_a_bubble(dut: Any) -> None:
    bench = await make(dut, Unit)
    for unit in bench.units:
        unit.queue(4)
    await bench.run(source=0, sink=0)
    for unit in bench.units:
        np.testing.assert_array_equal(np.diff(unit.finished), np.diff(unit.times), unit.name)


@cocotb.test()  # type: ignore[untyped-decorator]
async def pauses_of_source_and_sink(dut: Any) -> None:
    await with_pauses(await make(dut, Unit))


@cocotb.test()  # type: ignore[untyped-decorator]
async def reset_in_the_middle_of_everything(dut: Any) -> None:
    await with_resets(await make(dut, Unit), 30)
