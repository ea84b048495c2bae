"""cocotb bench for axis_image_last; test_axis_image_last.py builds and runs it."""

import itertools
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiStreamBus, AxiStreamSink, AxiStreamSource

from tests.rtl.pauses import RNG, pauses


class Bench:
    """Source, sink and a core that pauses; all numbers are whole images."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.beats, self.out_beats = int(dut.IN_BEATS.value), int(dut.OUT_BEATS.value)
        self.max_images = int(dut.MAX_IMAGES.value)
        self.lanes, self.out_lanes = int(dut.IN_BITS.value) // 8, int(dut.OUT_BITS.value) // 8
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk, dut.rst)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst)
        self.accepted = 0
        self.core_pauses = 0.0

    async def start(self) -> None:
        cocotb.start_soon(Clock(self.dut.clk, 10, unit="ns").start())
        cocotb.start_soon(self._core())
        cocotb.start_soon(self._count())
        await self.reset()

    async def reset(self) -> None:
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        assert not int(self.dut.s_axis_tready.value) and not int(self.dut.m_axis_tvalid.value)
        self.source.clear()
        self.sink.clear()
        self.accepted = 0
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def _core(self) -> None:
        while True:
            self.dut.go_in.value = RNG.random() >= self.core_pauses
            self.dut.go_out.value = RNG.random() >= self.core_pauses
            await RisingEdge(self.dut.clk)

    async def _count(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            moved = self.dut.s_axis_tvalid.value == 1 and self.dut.s_axis_tready.value == 1
            self.accepted += moved and self.dut.rst.value == 0

    def image(self) -> bytes:
        return RNG.randbytes(self.beats * self.lanes)

    def result(self, image: bytes) -> bytes:
        beats = [image[i : i + self.lanes] for i in range(0, len(image), self.lanes)]
        total = sum(int.from_bytes(beat, "little") for beat in beats)
        return b"".join(
            ((total + i) % 256**self.out_lanes).to_bytes(self.out_lanes, "little") for i in range(self.out_beats)
        )

    async def send(self, images: list[bytes]) -> None:
        """Send one transfer: TLAST is on its last beat."""
        await self.source.send(b"".join(images))

    async def expect(self, images: list[bytes]) -> None:
        """One transfer of results, TLAST on its last beat and on no other."""
        frame = await with_timeout(self.sink.recv(compact=False), 1, "ms")
        assert bytes(frame.tdata) == b"".join(map(self.result, images))

    async def transfers(self, counts: list[int]) -> None:
        """Send these many images per transfer back to back; the results must be cut at the same places."""
        sent = [[self.image() for _ in range(count)] for count in counts]
        for images in sent:
            await self.send(images)
        for images in sent:
            await self.expect(images)
        await ClockCycles(self.dut.clk, 20)
        assert self.sink.empty() and not int(self.dut.m_axis_tvalid.value)


async def make(dut: Any) -> Bench:
    bench = Bench(dut)
    await bench.start()
    return bench


@cocotb.test()  # type: ignore[untyped-decorator]
async def transfers_without_pauses(dut: Any) -> None:
    bench = await make(dut)
    await bench.transfers([1])
    await bench.transfers([1, 1, 1, 3, 2, 1, bench.max_images + 3, 1])


@cocotb.test()  # type: ignore[untyped-decorator]
async def transfers_with_random_pauses(dut: Any) -> None:
    bench = await make(dut)
    for source, sink, core in itertools.product((0.0, 0.5), (0.0, 0.5, 0.9), (0.0, 0.6)):
        bench.source.set_pause_generator(pauses(source))
        bench.sink.set_pause_generator(pauses(sink))
        bench.core_pauses = core
        await bench.transfers([RNG.choice((1, 1, 2, 5)) for _ in range(8)])


@cocotb.test()  # type: ignore[untyped-decorator]
async def last_in_the_middle_of_an_image_is_ignored(dut: Any) -> None:
    bench = await make(dut)
    images = [bench.image() for _ in range(3)]
    if bench.beats > 1:
        data, middle = b"".join(images), (bench.beats + 1) * bench.lanes  # the first beat of the second image
        await bench.source.send(data[:middle])
        await bench.source.send(data[middle:])
        await bench.expect(images)
    await bench.transfers([2, 1])


@cocotb.test()  # type: ignore[untyped-decorator]
async def it_holds_max_images_and_no_more(dut: Any) -> None:
    bench = await make(dut)
    bench.sink.pause = True
    images = [bench.image() for _ in range(bench.max_images + 3)]
    for image in images:
        await bench.send([image])
    await ClockCycles(dut.clk, 10 * bench.beats * len(images))
    assert bench.accepted == (bench.max_images + 1) * bench.beats - 1  # all but the beat that would complete one more
    bench.sink.pause = False
    for image in images:
        await bench.expect([image])
    await bench.transfers([1, 2])


@cocotb.test()  # type: ignore[untyped-decorator]
async def reset_in_the_middle_of_everything(dut: Any) -> None:
    bench = await make(dut)
    for cycles in range(1, 3 * bench.beats + 6):
        bench.sink.pause = bool(cycles % 2)
        await bench.send([bench.image() for _ in range(4)])
        await ClockCycles(dut.clk, cycles)
        await bench.reset()
        bench.sink.pause = False
        await bench.transfers([1, 2])
