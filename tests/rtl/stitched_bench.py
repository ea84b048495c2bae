"""cocotb bench for a stitched design; test_stitched_top.py builds and runs it."""

from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, with_timeout
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from tests.rtl.pauses import pauses


class Bench:
    """Source and sink around the accelerator, and the images with their logits; the first two are all 0, all 255."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        with np.load(Path("images.npz")) as arrays:
            self.pixels, self.logits = arrays["pixels"], arrays["logits"]
        clocked = (dut.ap_clk, dut.ap_rst_n, False)  # reset is active low
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), *clocked)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), *clocked)

    async def reset(self) -> None:
        self.dut.ap_rst_n.value = 0
        await ClockCycles(self.dut.ap_clk, 20)
        assert self.dut.m_axis_tvalid.value == 0 and self.dut.s_axis_tready.value == 0
        self.source.clear()
        self.sink.clear()
        self.dut.ap_rst_n.value = 1
        await ClockCycles(self.dut.ap_clk, 5)

    async def transfers(self, counts: list[int]) -> None:
        """Send these many images per transfer back to back; the logits must be cut at the same places."""
        ends = np.cumsum(counts)
        for end, count in zip(ends, counts, strict=True):
            await self.source.send(AxiStreamFrame(self.pixels[end - count : end].tobytes()))
        for end, count in zip(ends, counts, strict=True):
            frame = await with_timeout(self.sink.recv(), 2, "ms")
            assert np.frombuffer(bytes(frame.tdata), dtype="<i4").tolist() == self.logits[end - count : end].tolist()
        await ClockCycles(self.dut.ap_clk, 30)
        assert self.sink.empty() and self.dut.m_axis_tvalid.value == 0


async def make(dut: Any) -> Bench:
    bench = Bench(dut)
    cocotb.start_soon(Clock(dut.ap_clk, 10, unit="ns").start())
    await bench.reset()
    return bench


@cocotb.test()  # type: ignore[untyped-decorator]
async def images_back_to_back(dut: Any) -> None:
    bench = await make(dut)
    await bench.transfers([5, 1, 3])


@cocotb.test()  # type: ignore[untyped-decorator]
async def pauses_of_source_and_sink(dut: Any) -> None:
    bench = await make(dut)
    for source, sink in ((0.5, 0.5), (0.9, 0.0), (0.0, 0.97)):
        bench.source.set_pause_generator(pauses(source))
        bench.sink.set_pause_generator(pauses(sink))
        await bench.transfers([1, 3, 2])


@cocotb.test()  # type: ignore[untyped-decorator]
async def reset_in_the_middle_of_everything(dut: Any) -> None:
    bench = await make(dut)
    for cycles in (3, 17, 60, 150):
        bench.sink.pause = cycles == 150
        await bench.source.send(AxiStreamFrame(bench.pixels[5:9].tobytes()))
        await ClockCycles(dut.ap_clk, cycles)
        await bench.reset()
        bench.sink.pause = False
        await bench.transfers([3])
