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
from driver.link import DEAD_BUS, SLOTS, device_errors, set_clock, wait_until

SMALLEST_BUFFER = 8192  # bytes; smaller ones can get an address above 32 bits on some images
BURST = 16  # images; the engines work in bursts of whole 16 images when they can


class Reg(IntEnum):
    """Byte offsets in an engine's control block."""

    CTRL = 0x00  # bit 0: start, bit 1: done, cleared by reading, bit 2: idle
    ADDRESS_LOW = 0x10
    ADDRESS_HIGH = 0x14
    REPS = 0x1C  # images per start


START, DONE, IDLE = 1 << 0, 1 << 1, 1 << 2


class FinnIodmaLink:
    """FINN's input and output engines."""

    def __init__(self, runtime: Any, bitstream: str, hardware: Hardware, *, capacity: int, timeout_s: float) -> None:
        """Load the bitstream, set the clock and allocate two pairs of buffers. Arguments as in AxiDmaLink."""
        self._runtime, self._bitstream, self._hardware = runtime, bitstream, hardware
        self._timeout_s = timeout_s
        self._bytes_in, self._bytes_out = hardware.input.packed_bytes, hardware.output.packed_bytes
        self.capacity = max(BURST, capacity // BURST * BURST)
        self._input: Any = None
        self._output: Any = None
        self._done = False
        self._buffers: list[Any] = []
        self._connect()
        try:
            self._inputs = [self._allocate(self.capacity * self._bytes_in) for _ in range(SLOTS)]
            self._outputs = [self._allocate(self.capacity * self._bytes_out) for _ in range(SLOTS)]
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        """Load the bitstream, which also resets the accelerator, and take hold of both engines."""
        with device_errors("loading the bitstream"):
            overlay = self._runtime.Overlay(self._bitstream, download=True)
            set_clock(self._runtime.Clocks, self._hardware.clock_mhz)
        names = [self._hardware.dma[role] for role in ("input", "output")]
        for name in names:
            if name not in overlay.ip_dict:
                raise DeviceError(
                    f"the bitstream has no engine '{name}', found {', '.join(overlay.ip_dict) or 'no IP at all'}. "
                    "Copy the whole folder again."
                )
        self._input, self._output = (getattr(overlay, name) for name in names)
        self._read(self._output)

    def _allocate(self, size: int) -> Any:
        self._buffers.append(self._runtime.allocate(shape=(max(size, SMALLEST_BUFFER),), dtype=np.uint8))
        return self._buffers[-1]

    def stage(self, slot: int, pixels: NDArray[np.uint8]) -> None:
        """See Link. On the stream, pixels are in the order of the image: packing is one copy."""
        self._inputs[slot][: pixels.size] = pixels.reshape(-1)

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

    def reset(self) -> None:
        """See Link."""
        self._connect()

    def close(self) -> None:
        """See Link."""
        while self._buffers:
            self._buffers.pop().freebuffer()


def _signed(raw: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return (N,) integers from (N, bytes) little-endian two's complement."""
    bits = 8 * raw.shape[1]
    value = (raw.astype(np.int64) << (8 * np.arange(raw.shape[1]))).sum(axis=1)
    return np.asarray(np.where(value >> (bits - 1), value - (1 << bits), value))
