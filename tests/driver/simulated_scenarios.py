"""What software does with a simulated board, and what it sees: for the stand-in and for the real pynq.

Each scenario returns a list that JSON can hold. As a program in an environment with pynq, it prints all of them.
"""

import json
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.manifest import Hardware, Stream
from contract.network import Dense, Input, IntegerNetwork
from driver.reference import Reference
from driver.simulated.core import Core, ReferenceCore
from driver.simulated.device import SimulatedDevice, with_shell
from driver.simulated.faults import DmaError, Faults

PIXELS = 16  # of an image; 4 beats of 4
BITFILE = "/nowhere/accelerator.bit"
REFERENCE = Reference(
    IntegerNetwork(
        Input(4, 4), (Dense(np.random.default_rng(5).integers(-128, 128, (1, PIXELS), dtype=np.int8), None),)
    )
)


def hardware(shell: str = "axi_dma", *, part: str = "xczu7ev-ffvc1156-2-e") -> Hardware:
    """A small accelerator. The default chip is the one whose overlays pynq 4.0.0 can load."""
    return with_shell(
        Hardware(
            shell=None,
            board="test",
            part=part,
            clock_mhz=100.0,
            input=Stream(shape=[4, 4], datatype="uint8", folded_shape=[4, 4], packed_bytes=PIXELS, width_bits=32),
            output=Stream(shape=[1], datatype="int32", folded_shape=[1, 1], packed_bytes=4, width_bits=32),
            dma={},
            cycles_per_image=4,
        ),
        shell,
    )


def device(shell: str = "axi_dma", *, core: "Core | None" = None, **options: Any) -> SimulatedDevice:
    """A board with that accelerator, its memory above 4 GiB."""
    layout = replace(hardware(shell), **options)
    return SimulatedDevice(layout, core or ReferenceCore(REFERENCE.outputs, layout.input), memory_base=0x1_2345_0000)


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random images, (count, PIXELS)."""
    return np.random.default_rng(seed).integers(0, 256, (count, PIXELS), dtype=np.uint8)


def buffers(runtime: Any, count: int, seed: int = 0) -> tuple[Any, Any]:
    """`count` images in a buffer, and a buffer for their results."""
    source = runtime.allocate(shape=(count, PIXELS), dtype=np.uint8)
    source[:] = images(count, seed)
    return source, runtime.allocate(shape=(count,), dtype=np.int32)


def outcome(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call returns, or what it raises."""
    try:
        return call(*args, **kwargs)
    except Exception as err:
        return f"{type(err).__name__}: {err}"


def until(condition: Callable[[], Any], seconds: float = 60.0) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def state(channel: Any) -> list[bool]:
    """What the status register says."""
    return [bool(channel.running), bool(channel.idle), bool(channel.error)]


def _halted(channel: Any) -> bool:
    return not channel.running


def run(dma: Any, source: Any, target: Any) -> list[int]:
    """One transfer, as pynq's documentation shows it; the results."""
    dma.recvchannel.transfer(target)
    dma.sendchannel.transfer(source)
    dma.sendchannel.wait()
    dma.recvchannel.wait()
    return [int(v) for v in target]


def batch(runtime: Any, board: SimulatedDevice) -> list[Any]:
    """A whole transfer, part of a buffer, and the state around them."""
    dma = runtime.Overlay(BITFILE).axi_dma_0
    source, target = buffers(runtime, 70)
    before = [state(dma.sendchannel), state(dma.recvchannel)]
    right = run(dma, source, target) == REFERENCE(images(70)).tolist()
    received = int(dma.recvchannel.transferred)
    dma.recvchannel.transfer(target, start=8, nbytes=12)
    dma.sendchannel.transfer(source, start=5 * PIXELS, nbytes=3 * PIXELS)
    dma.sendchannel.wait()
    dma.recvchannel.wait()
    part = [int(v) for v in target[2:5]] == REFERENCE(images(70)[5:8]).tolist()
    after = [state(dma.sendchannel), state(dma.recvchannel)]
    return [before, right, received, part, int(dma.recvchannel.transferred), int(dma.buffer_max_size), after]


def misuse(runtime: Any, board: SimulatedDevice) -> list[Any]:
    """Calls that a channel refuses."""
    overlay = runtime.Overlay(BITFILE)
    receive, send = overlay.axi_dma_0.recvchannel, overlay.axi_dma_0.sendchannel
    source, target = buffers(runtime, 4)
    seen = [
        outcome(receive.transfer, target, nbytes=1 << 26),
        outcome(send.transfer, source, start=1),
        outcome(receive.transfer, target, start=2),
        outcome(receive.transfer, target),
        outcome(receive.transfer, target),
    ]
    seen += [state(receive), outcome(send.transfer, source), outcome(send.wait), outcome(receive.wait)]
    receive.stop()
    seen += [state(receive), outcome(receive.transfer, target), outcome(receive.wait)]
    receive.start()
    seen += [state(receive), run(overlay.axi_dma_0, source, target)]
    seen += [outcome(getattr, overlay, "no_such_ip"), "axi_dma_0" in overlay.ip_dict]
    mmio = overlay.axi_dma_0.mmio
    seen += [outcome(mmio.write, 0, np.uint32(1)), outcome(mmio.write, 2, 1), outcome(mmio.read, 2)]
    return seen


def errors(runtime: Any, board: SimulatedDevice) -> list[Any]:
    """Each error bit in each channel: before, while and after software waits; and the way back."""
    seen: list[Any] = []
    for error in DmaError:
        board.faults = Faults(receive_error=error)
        dma = runtime.Overlay(BITFILE).axi_dma_0
        board.faults = Faults(receive_error=error)
        source, target = buffers(runtime, 4)
        dma.recvchannel.transfer(target)
        threading.Timer(0.15, dma.sendchannel.transfer, [source]).start()
        seen += [outcome(dma.recvchannel.wait), outcome(dma.recvchannel.wait), state(dma.recvchannel)]
        seen += [until(partial(_halted, dma.sendchannel)), outcome(dma.recvchannel.transfer, target)]
        dma = runtime.Overlay(BITFILE).axi_dma_0
        board.faults = Faults(send_error=error)
        dma.sendchannel.transfer(source)
        seen += [until(partial(_halted, dma.sendchannel)), outcome(dma.sendchannel.wait), state(dma.sendchannel)]
        dma = runtime.Overlay(BITFILE).axi_dma_0
        seen.append(run(dma, source, target))
    return seen


def download(runtime: Any, board: SimulatedDevice) -> list[Any]:
    """Loading the bitstream again: through the same object, and through another one."""
    overlay = runtime.Overlay(BITFILE)
    dma = overlay.axi_dma_0
    source, target = buffers(runtime, 4)
    dma.sendchannel.transfer(source)  # its results are still inside when the bitstream is loaded
    dma.sendchannel.wait()
    overlay.download()
    seen = [overlay.axi_dma_0 is dma, state(dma.sendchannel), outcome(dma.recvchannel.transfer, target)]
    dma.sendchannel.start()
    dma.recvchannel.start()
    source, target = buffers(runtime, 4, seed=1)
    seen += [run(dma, source, target) == REFERENCE(images(4, seed=1)).tolist()]
    other = runtime.Overlay(BITFILE)
    seen += [outcome(lambda: overlay.axi_dma_0), other.axi_dma_0 is dma]
    return [*seen, run(other.axi_dma_0, source, target)]


def caches(runtime: Any, board: SimulatedDevice) -> list[Any]:
    """Flush, invalidate and addresses, of buffers and of slices."""
    data = runtime.allocate(shape=(8, 16), dtype=np.uint8)
    address = data.device_address
    seen: list[Any] = [hex(address), hex(data[3:].physical_address), str(runtime.allocate((4,)).dtype)]
    data[:] = 1
    stale = board.memory.read(address, 1)[0] != 1
    data[3:5].flush()
    flushed = board.memory.read(address + 48, 32) == b"\1" * 32
    board.memory.write(address, b"\7" * 128)
    data[1].invalidate()
    return [*seen, stale, flushed, board.memory.read(address, 1)[0], data.reshape(-1).tolist()]


def clocks(runtime: Any, board: SimulatedDevice) -> list[Any]:
    """What comes of a wanted frequency; a stuck clock."""
    runtime.Overlay(BITFILE)
    seen = [runtime.Clocks.fclk0_mhz]
    for mhz in (142.0, 250.0, 33.0, 100.0):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            runtime.Clocks.fclk0_mhz = mhz
        seen += [runtime.Clocks.fclk0_mhz, len(caught)]
    board.faults = Faults(clock_stuck=True)
    runtime.Clocks.fclk0_mhz = 50.0
    return [*seen, runtime.Clocks.fclk0_mhz]


def vanishing(runtime: Any, board: SimulatedDevice) -> list[Any]:
    """The logic stops answering, then the whole board."""
    overlay = runtime.Overlay(BITFILE)
    dma = overlay.axi_dma_0
    source, _ = buffers(runtime, 4)
    board.faults = Faults(vanish_after=0, vanish="ones")
    seen = [state(dma.sendchannel), outcome(dma.sendchannel.transfer, source), dma.mmio.read(4) == 0xFFFFFFFF]
    seen += [runtime.Clocks.fclk0_mhz]
    board.faults = Faults(vanish_after=3)
    seen += [outcome(dma.mmio.read, 4) for _ in range(5)]
    return [*seen, outcome(overlay.download), outcome(lambda: runtime.Clocks.fclk0_mhz)]


def engines(runtime: Any, board: SimulatedDevice) -> list[Any]:
    """FINN's engines."""
    overlay = runtime.Overlay(BITFILE)
    source, target = buffers(runtime, 40)
    source.flush()
    seen = [overlay.odma0.read(0), overlay.idma0.read(0)]
    for engine, buffer in ((overlay.odma0, target), (overlay.idma0, source)):
        engine.write(0x10, buffer.device_address & 0xFFFFFFFF)
        engine.write(0x14, buffer.device_address >> 32)
        engine.write(0x1C, 40)
        engine.write(0x00, 1)
    seen += [until(lambda: overlay.odma0.read(0) & 2), overlay.odma0.read(0), overlay.odma0.read(0x1C)]
    unseen = target.tolist() != REFERENCE(images(40)).tolist()
    target.invalidate()
    return [*seen, unseen, target.tolist() == REFERENCE(images(40)).tolist()]


SCENARIOS = {
    "axi_dma": (batch, misuse, errors, download, caches, clocks, vanishing),
    "finn_iodma": (engines,),
}


def outcomes(make_runtime: Callable[[SimulatedDevice], Any]) -> dict[str, Any]:
    """Every scenario on a board of its own."""
    seen: dict[str, Any] = {}
    for shell, scenarios in SCENARIOS.items():
        for scenario in scenarios:
            board = device(shell)
            seen[scenario.__name__] = scenario(make_runtime(board), board)
    return seen


if __name__ == "__main__":
    from driver.simulated.pynq_device import pynq_runtime

    zynq = pynq_runtime(device(part="xc7z020clg400-1"))
    result = {
        "outcomes": outcomes(pynq_runtime),
        "zynq": [outcome(zynq.Overlay, BITFILE, download=False) is not None, outcome(zynq.Overlay, BITFILE)],
    }
    json.dump(result, sys.stdout)
