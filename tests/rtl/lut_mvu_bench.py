"""cocotb bench for lut_mvu; test_lut_mvu.py builds and runs it. Every folding of every layer runs at the same time."""

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from tests.rtl.units_bench import RNG, make, pack, with_pauses, with_resets


def elements(array: NDArray[np.int64], bits: int) -> int:
    """Pack a beat, the first element in the low bits; 1 bit is bipolar."""
    coded = (array > 0).astype(int) if bits == 1 else array
    return pack(coded.tolist(), bits)


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


@cocotb.test()  # type: ignore[untyped-decorator]
async def back_to_back_without_a_bubble(dut: Any) -> None:
    bench = await make(dut, Unit)
    for unit in bench.units:
        unit.queue(8)
    await bench.run(source=0, sink=0)
    for unit in bench.units:
        beats = unit.interval // unit.passes  # from one answer to the next, across images too
        assert set(np.diff(unit.finished)) == {beats}, unit.name


@cocotb.test()  # type: ignore[untyped-decorator]
async def pauses_of_source_and_sink(dut: Any) -> None:
    await with_pauses(await make(dut, Unit))


@cocotb.test()  # type: ignore[untyped-decorator]
async def reset_in_the_middle_of_everything(dut: Any) -> None:
    await with_resets(await make(dut, Unit), 40)
