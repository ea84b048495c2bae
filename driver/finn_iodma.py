"""The `finn_iodma` shell: FINN's own DMA engines, one that reads memory and one that writes it.

Source: the s_axilite register map of Vitis HLS (UG1399, ap_ctrl_hs) and FINN's driver_base.py. FINN's driver writes one
half of a buffer's address and waits without an end; both are mended here.
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import DeviceError
from contract.manifest import Hardware
from driver.link import DEAD_BUS, BoardLink, device_errors, wait_until

BURST = 16  # images; the engines work in bursts of whole 16 images when they can


class Reg(IntEnum):
    """Byte offsets in an engine's control block."""

    CTRL = 0x00  # bit 0: start, bit 1: done, cleared by reading, bit 2: idle
    ADDRESS_LOW = 0x10
    ADDRESS_HIGH = 0x14
    REPS = 0x1C  # images per start


START, DONE, IDLE = 1 << 0, 1 << 1, 1 << 2


class FinnIodmaLink(BoardLink):
    """FINN's input and output engines."""

    _done = False  # the output engine has finished

    def __init__(self, runtime: Any, bitstream: str, hardware: Hardware, *, capacity: int, timeout_s: float) -> None:
        """See BoardLink. `capacity` becomes a multiple of the engines' burst."""
        capacity = max(BURST, capacity // BURST * BURST)
        super().__init__(runtime, bitstream, hardware, capacity=capacity, timeout_s=timeout_s)

    def _connect(self, overlay: Any) -> None:
        with device_errors("finding the engines"):
            self._input, self._output = (getattr(overlay, self._hardware.dma[role]) for role in ("input", "output"))
        self._read(self._output)

    def start(self, slot: int, count: int) -> None:
        """See Link. The writer is started first."""
        if not self._read(self._output) & IDLE:
            raise DeviceError(f"the output engine is busy before {count} images were sent: an old transfer is stuck.")
        self._inputs[slot].flush()
        self._done = False
        for engine, buffer in ((self._output, self._outputs[slot]), (self._input, self._inputs[slot])):
            address = int(buffer.device_address)
            with device_errors(f"starting a transfer of {count} images"):
                engine.write(int(Reg.ADDRESS_LOW), address & 0xFFFFFFFF)
                engine.write(int(Reg.ADDRESS_HIGH), address >> 32)
                engine.write(int(Reg.REPS), int(count))
                engine.write(int(Reg.CTRL), START)

    def finish(self, slot: int, count: int) -> NDArray[np.int64]:
        """See Link."""
        wait_until(
            self._ended,
            timeout_s=self._timeout_s,
            report=lambda: (
                f"{count} images in flight, input engine 0x{self._input.read(int(Reg.CTRL)):08X}, output engine "
                f"0x{self._output.read(int(Reg.CTRL)):08X} (bit 0 start, bit 1 done, bit 2 idle)"
            ),
        )
        self._outputs[slot].invalidate()
        raw = np.asarray(self._outputs[slot][: count * self._bytes_out]).reshape(count, self._bytes_out)
        return _signed(raw)

    def _ended(self) -> bool:
        """Tell whether the output engine is done and the input engine can start again.

        Reading clears the done bit, so it is kept.
        """
        self._done = self._done or bool(self._read(self._output) & DONE)
        return self._done and bool(self._read(self._input) & IDLE)

    def _read(self, engine: Any) -> int:
        with device_errors("reading an engine's status"):
            status = int(engine.read(int(Reg.CTRL)))
        if status == DEAD_BUS:
            raise DeviceError(f"an engine's control register reads 0x{status:08X}: nothing answers. Restart the board.")
        return status


def _signed(raw: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return (N,) integers from (N, bytes) little-endian two's complement."""
    bits = 8 * raw.shape[1]
    value = (raw.astype(np.int64) << (8 * np.arange(raw.shape[1]))).sum(axis=1)
    return np.asarray(np.where(value >> (bits - 1), value - (1 << bits), value))
