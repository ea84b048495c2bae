"""The simulated board: what its DMA delivers, and that every fault is one."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import ToolError
from driver.simulated.device import SimulatedDevice
from driver.simulated.faults import DmaError, Faults
from driver.simulated.stand_in import StandIn
from driver.simulated.stream import MAX_IMAGES
from driver.simulated.verilated import VerilatedCore
from tests.driver.boards import write_program
from tests.driver.simulated_scenarios import BITFILE, PIXELS, REFERENCE, buffers, device, images, run, state, until


def board() -> tuple[SimulatedDevice, StandIn, Any]:
    simulated = device()
    runtime = StandIn(simulated)
    return simulated, runtime, runtime.Overlay(BITFILE).axi_dma_0


def test_a_thousand_batches_come_in_order() -> None:
    _, runtime, dma = board()
    rng = np.random.default_rng(3)
    source, target = buffers(runtime, 80)
    for i in range(1000):
        count = int(rng.integers(1, 81)) if i % 50 == 0 else int(rng.integers(1, 12))
        source[:count] = batch = images(count, seed=i)
        send_first = bool(rng.integers(2)) and count <= MAX_IMAGES
        if send_first:
            dma.sendchannel.transfer(source, nbytes=count * PIXELS)
        dma.recvchannel.transfer(target, nbytes=target.nbytes)  # room for more: TLAST must end it
        if not send_first:
            dma.sendchannel.transfer(source, nbytes=count * PIXELS)
        dma.sendchannel.wait()
        dma.recvchannel.wait()
        assert dma.recvchannel.transferred == 4 * count
        np.testing.assert_array_equal(target[:count], REFERENCE(batch))


def test_results_wait_inside_until_somebody_receives_them() -> None:
    _, runtime, dma = board()
    source, target = buffers(runtime, MAX_IMAGES + 1)
    dma.sendchannel.transfer(source, nbytes=MAX_IMAGES * PIXELS)
    assert until(lambda: dma.sendchannel.idle)  # these just fit
    dma.sendchannel.transfer(source[MAX_IMAGES:])
    time.sleep(0.05)
    assert not dma.sendchannel.idle
    dma.recvchannel.transfer(target, nbytes=MAX_IMAGES * 4)
    dma.recvchannel.wait()
    assert until(lambda: dma.sendchannel.idle)
    np.testing.assert_array_equal(target[:MAX_IMAGES], REFERENCE(images(MAX_IMAGES + 1)[:MAX_IMAGES]))


def _ended(send: Any, receive: Any) -> bool:
    return bool(receive.idle or receive.error or send.error)


def _changes(faults: Faults) -> str:
    usual = vars(Faults())
    return ",".join(f"{name}={value}" for name, value in vars(faults).items() if value != usual[name])


# What a transfer of 6 images comes to: (received bytes or None while it waits, errors, wrong positions)
@pytest.mark.parametrize(
    ("faults", "received", "error", "wrong"),
    [
        (Faults(), 24, None, []),
        (Faults(stall_after=2), None, None, []),
        (Faults(missing_tlast=True), None, None, []),
        (Faults(drop_result=0), 20, None, [0, 1, 2, 3, 4]),
        (Faults(drop_result=5), None, None, []),
        (Faults(add_result=2), None, DmaError.INTERNAL, []),
        (Faults(flip_result=3, flip_bit=31), 24, None, [3]),
        *[(Faults(send_error=error), None, error, []) for error in DmaError],
        *[(Faults(receive_error=error), None, error, []) for error in DmaError],
    ],
    ids=lambda value: _changes(value) if isinstance(value, Faults) else "",
)
def test_a_fault_shows_until_the_bitstream_is_loaded_again(
    faults: Faults, received: "int | None", error: "DmaError | None", wrong: list[int]
) -> None:
    simulated, runtime, dma = board()
    source, target = buffers(runtime, 6)
    expected = REFERENCE(images(6))
    for _ in range(2):  # a fault is there again after an assignment
        simulated.faults = faults
        dma.recvchannel.transfer(target)
        dma.sendchannel.transfer(source)
        channels = (dma.sendchannel, dma.recvchannel)
        ends = received is not None or error is not None
        assert until(partial(_ended, *channels), seconds=60 if ends else 0.05) == ends
        failed = [channel for channel in channels if channel.error]
        assert len(failed) == (error is not None)
        if error is not None:
            offset = 0x04 if failed[0] is dma.sendchannel else 0x34
            assert dma.read(offset) & 0x70 == error
        if received is not None:
            dma.recvchannel.wait()
            assert dma.recvchannel.transferred == received
            got = np.asarray(target[: received // 4])
            assert np.flatnonzero(got != expected[: received // 4]).tolist() == wrong
        dma = runtime.Overlay(BITFILE).axi_dma_0
        assert run(dma, source, target) == expected.tolist()


def test_a_permanent_fault_survives_loading() -> None:
    simulated, runtime, _ = board()
    simulated.faults = Faults(flip_result=1, permanent=True)
    source, target = buffers(runtime, 3)
    for _ in range(2):
        got = run(runtime.Overlay(BITFILE).axi_dma_0, source, target)
        assert np.flatnonzero(np.array(got) != REFERENCE(images(3))).tolist() == [1]


def test_resetting_the_dma_alone_leaves_old_results_inside() -> None:
    _, runtime, dma = board()
    source, target = buffers(runtime, 5)
    dma.sendchannel.transfer(source)
    dma.sendchannel.wait()
    dma.write(0x30, 0x4)  # either channel's reset bit resets both
    assert state(dma.sendchannel) == state(dma.recvchannel) == [False, False, False]
    dma.sendchannel.start()
    dma.recvchannel.start()
    source[:] = images(5, seed=9)
    assert run(dma, source, target) == REFERENCE(images(5)).tolist()  # of the images before the reset


def test_a_partial_image_stays_inside_until_the_bitstream_is_loaded() -> None:
    _, runtime, dma = board()
    source, target = buffers(runtime, 2)
    dma.sendchannel.transfer(source, nbytes=PIXELS + 4)
    dma.sendchannel.wait()
    dma.recvchannel.transfer(target)
    time.sleep(0.02)
    assert not dma.recvchannel.idle  # TLAST came within an image, where it does not count
    assert run(runtime.Overlay(BITFILE).axi_dma_0, source, target) == REFERENCE(images(2)).tolist()


def test_a_wrong_upper_address_word_is_a_decode_error() -> None:
    _, runtime, dma = board()
    source, _ = buffers(runtime, 2)
    dma.write(0x18, source.device_address & 0xFFFFFFFF)
    dma.write(0x1C, 0)
    dma.write(0x28, source.nbytes)
    assert until(lambda: dma.sendchannel.error)
    assert dma.read(0x04) & 0x70 == DmaError.DECODE


def test_an_error_halts_both_channels_until_a_reset() -> None:
    simulated, runtime, dma = board()
    source, target = buffers(runtime, 2)
    simulated.faults = Faults(receive_error=DmaError.SLAVE)
    dma.recvchannel.transfer(target)
    dma.sendchannel.transfer(source)
    assert until(lambda: dma.recvchannel.error and not dma.sendchannel.running)
    assert state(dma.sendchannel) == [False, False, False]
    dma.write(0x00, 1)
    assert not dma.sendchannel.running  # pynq's start() would wait for ever
    dma.write(0x00, 4)
    dma.sendchannel.start()
    assert state(dma.sendchannel) == [True, False, False]


def test_a_stopped_channel_finishes_its_transfer_first() -> None:
    _, runtime, dma = board()
    source, target = buffers(runtime, 2)
    dma.recvchannel.transfer(target)
    dma.write(0x30, 0)
    assert state(dma.recvchannel) == [True, False, False]
    dma.sendchannel.transfer(source)
    assert until(lambda: not dma.recvchannel.running)
    target.invalidate()
    assert target.tolist() == REFERENCE(images(2)).tolist()


def test_registers_read_back_as_written() -> None:
    _, _, dma = board()
    dma.write(0x00, 0x0001_7001)
    assert dma.read(0x00) == 0x0001_7003
    dma.write(0x4C, 3)
    dma.write(0x48, 0xDEAD_BEE8)
    assert (dma.read(0x48), dma.read(0x4C)) == (0xDEAD_BEE8, 3)


def test_the_length_register_has_26_bits() -> None:
    _, runtime, dma = board()
    source, target = buffers(runtime, 2)
    assert run(dma, source, target)
    assert dma.read(0x34) & (1 << 12)
    dma.write(0x34, 1 << 12)
    assert not dma.read(0x34) & (1 << 12)
    dma.write(0x58, (1 << 26) + 4)
    assert dma.read(0x58) == 4


class BrokenCore:
    def send(self, data: bytes, last: bool) -> Any:
        raise ToolError("the simulator ended")

    def abort(self) -> None: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


def test_a_core_that_fails_is_reported_where_software_looks() -> None:
    runtime = StandIn(device(core=BrokenCore()))
    dma = runtime.Overlay(BITFILE).axi_dma_0
    source, _ = buffers(runtime, 1)
    dma.sendchannel.transfer(source)
    with pytest.raises(ToolError, match="the simulator ended"):
        dma.sendchannel.wait()


def test_the_verilated_core_speaks_the_programs_protocol(tmp_path: Path) -> None:
    program = write_program(tmp_path)
    with VerilatedCore(program, tmp_path, beats=2, beat_bytes=3, results=1) as core:
        assert core.send(bytes(range(15)), True) == [(-15, False), (-51, False)]
        assert core.send(bytes([1, 2, 3]), True) == [(-(12 + 13 + 14 + 6), True)]
        core.send(bytes([9, 9, 9, 9, 9, 9, 9, 9, 9]), False)
        core.reset()
        assert core.send(bytes([1] * 6), False) == [(-6, False)]
        assert core.cycles == 11
        with pytest.raises(ValueError, match="4 bytes are not whole beats of 3 bytes"):
            core.send(bytes(4), True)
        with pytest.raises(ToolError, match="exit code 1: no light"):
            core.send(bytes(6), True)
    with pytest.raises(ToolError, match="does not start"):
        VerilatedCore(tmp_path / "none", tmp_path, beats=1, beat_bytes=1, results=1)
