"""The `axi_dma` shell: Xilinx AXI DMA in simple mode, through pynq.lib.dma.

Source: PG021, and pynq.lib.dma of PYNQ 3 and 4. pynq's own wait() never gives up, so the status is polled here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import DeviceError
from contract.manifest import Hardware
from driver.link import DEAD_BUS, BoardLink, device_errors, wait_until

MM2S_STATUS, S2MM_STATUS = 0x04, 0x34  # byte offsets of the status registers
IDLE = 1 << 1
ERRORS = {1 << 4: "internal error", 1 << 5: "slave error", 1 << 6: "decode error"}
MAX_TRANSFER = (1 << 26) - 1  # bytes: the length register of the shell's DMA


class AxiDmaLink(BoardLink):
    """One AXI DMA whose streams are the accelerator's."""

    def __init__(self, runtime: Any, bitstream: str, hardware: Hardware, *, capacity: int, timeout_s: float) -> None:
        """See BoardLink. `capacity` is reduced to what the DMA's length register can hold."""
        largest = max(hardware.input.packed_bytes, hardware.output.packed_bytes)
        capacity = max(1, min(capacity, MAX_TRANSFER // largest))
        super().__init__(runtime, bitstream, hardware, capacity=capacity, timeout_s=timeout_s)

    def _connect(self, overlay: Any) -> None:
        name = self._hardware.dma["dma"]
        entry = overlay.ip_dict[name]
        with device_errors("reading the DMA's status"):
            status = self._runtime.MMIO(entry["phys_addr"], entry["addr_range"]).read(MM2S_STATUS)
        if status == DEAD_BUS:  # pynq would wait for it for ever
            raise DeviceError(f"the DMA's status reads 0x{status:08X}: nothing answers. Restart the board.")
        with device_errors("starting the DMA"):
            self._dma = getattr(overlay, name)

    def start(self, slot: int, count: int) -> None:
        """See Link. The receiver is armed first."""
        with device_errors(f"starting a transfer of {count} images"):
            self._dma.recvchannel.transfer(self._outputs[slot], nbytes=count * self._bytes_out)
            self._dma.sendchannel.transfer(self._inputs[slot], nbytes=count * self._bytes_in)

    def finish(self, slot: int, count: int) -> NDArray[np.int64]:
        """See Link."""
        wait_until(
            self._ended,
            timeout_s=self._timeout_s,
            report=lambda: f"{count} images in flight, {self._describe()}",
        )
        with device_errors("ending a transfer"):
            self._dma.sendchannel.wait()
            self._dma.recvchannel.wait()  # makes the results visible to the CPU
        received = int(self._dma.recvchannel.transferred)
        if received != count * self._bytes_out:
            raise DeviceError(
                f"{received} bytes of results came for {count} images, expected {count * self._bytes_out}: a result is "
                "missing or too many, so none can be trusted."
            )
        raw = np.asarray(self._outputs[slot][:received])
        return raw.view("<i4").astype(np.int64)

    def _ended(self) -> bool:
        """Tell whether both channels are idle. Raises DeviceError if one is in error or gone; that halts both."""
        with device_errors("reading the DMA's status"):
            words = [self._dma.read(register) for register in (MM2S_STATUS, S2MM_STATUS)]
        if any(word == DEAD_BUS or any(word & bit for bit in ERRORS) for word in words):
            raise DeviceError(f"the DMA failed: {self._describe()}")
        return all(word & IDLE for word in words)

    def _describe(self) -> str:
        words = []
        for name, register in (("MM2S", MM2S_STATUS), ("S2MM", S2MM_STATUS)):
            status = self._dma.read(register)
            meaning = [text for bit, text in ERRORS.items() if status & bit] or ["idle" if status & IDLE else "busy"]
            words.append(
                f"{name} status 0x{status:08X} ({'nothing answers' if status == DEAD_BUS else ', '.join(meaning)})"
            )
        return ", ".join(words)
