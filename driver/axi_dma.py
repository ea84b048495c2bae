"""The `axi_dma` shell: Xilinx AXI DMA in simple mode, by its registers.

Source: PG021. pynq.lib.dma drives the same registers, but its start(), stop() and wait() poll them without an end: a
DMA that is held in reset, or a bus that answers 0, would keep a program for ever. Here all polling has a deadline.
"""

import operator
from collections.abc import Mapping
from typing import Any

from contract.errors import DeviceError
from contract.shells import DMA_CHANNELS, DMA_ERRORS, DMA_LENGTH_BITS, HALTED, IDLE, RESET, RUN, DmaReg
from driver.link import SETTLE_S, BoardLink, wait_until
from driver.witness import EXTRA

ERROR_BITS = sum(DMA_ERRORS)
ALIGNED = 0xFFFF_FF80  # bits of an address that the widest DMA keeps


class AxiDmaLink(BoardLink):
    """One AXI DMA whose streams are the accelerator's."""

    _fresh = True  # no transfer has begun since the reset: then no channel is idle, and none is busy

    def _connect(self, overlay: Any) -> None:
        self._require_simple_mode(overlay.ip_dict[self._hardware.dma["dma"]].get("parameters", {}))
        self._dma = self._registers(overlay, "dma")
        self._dma.write(DmaReg.DMACR, RESET)  # of either channel: it resets both
        self._settle(
            lambda: not any(self._dma.read(c + DmaReg.DMACR) & RESET for c in DMA_CHANNELS.values()), "in reset"
        )
        for name, channel in DMA_CHANNELS.items():
            status = self._dma.read(channel + DmaReg.DMASR)
            if not status & HALTED or status & ERROR_BITS:
                raise DeviceError(
                    f"the DMA's {name} status reads 0x{status:08X} after a reset, expected bit 0 (halted) and no "
                    "error: what is loaded is not this design, or the bus is broken. Restart the board."
                )
            self._dma.require_memory(channel + DmaReg.SA, ALIGNED)
        for channel in DMA_CHANNELS.values():
            self._dma.write(channel + DmaReg.DMACR, RUN)
        self._settle(lambda: not any(s & HALTED for s in self._statuses()), "halted after it was started")
        self._fresh = True

    def _require_simple_mode(self, parameters: Any) -> None:
        """Stop if the design's own description says that its DMA cannot do what this driver asks for."""
        if _parameter(parameters, "c_include_sg", 0, 0, 1):
            raise DeviceError("the bitstream's DMA is in scatter-gather mode, expected simple mode. Build it again.")
        largest = (1 << _parameter(parameters, "c_sg_length_width", DMA_LENGTH_BITS, 8, DMA_LENGTH_BITS)) - 1
        size = max(self._bytes_in, self._bytes_out)
        fitting = largest // size - EXTRA
        if self.capacity > fitting:
            if fitting < 1:
                advice = "Not one image fits: build it again with a DMA of a wider length register."
            elif fitting == 1:
                advice = "Open the accelerator with a capacity of 1, without `twice`."
            else:
                advice = f"Open the accelerator with a capacity of {fitting} or less, or half of it with `twice`."
            raise DeviceError(
                f"{self.capacity} images are {self._total * size:,} bytes with the {EXTRA} known ones, and the "
                f"bitstream's DMA transfers up to {largest:,}. {advice}"
            )

    def _settle(self, done: Any, what: str) -> None:
        wait_until(done, timeout_s=SETTLE_S, report=lambda: f"the DMA stays {what}, {self._describe()}")

    def _launch(self, slot: int, total: int) -> None:
        statuses = self._statuses()
        if any(status & (HALTED | ERROR_BITS) for status in statuses):
            raise DeviceError(f"the DMA does not run before {total - EXTRA} images are sent: {self._describe()}")
        if not self._fresh and not all(status & IDLE for status in statuses):
            raise DeviceError(f"the DMA is busy before {total - EXTRA} images are sent: {self._describe()}")
        self._fresh = False
        # The receiver first: nothing may come out that nobody waits for.
        self._begin(DMA_CHANNELS["S2MM"], self._outputs[slot], total * self._bytes_out)
        self._begin(DMA_CHANNELS["MM2S"], self._inputs[slot], total * self._bytes_in)

    def _begin(self, channel: int, buffer: Any, size: int) -> None:
        address = int(buffer.device_address)
        self._dma.write(channel + DmaReg.SA, address & 0xFFFFFFFF)
        self._dma.write(channel + DmaReg.SA_MSB, address >> 32)
        self._dma.write(channel + DmaReg.LENGTH, size)

    def _wait(self, total: int) -> None:
        self._poll(self._ended, total, self._describe)
        received = self._dma.read(DMA_CHANNELS["S2MM"] + DmaReg.LENGTH)
        if received != total * self._bytes_out:
            raise DeviceError(
                f"{received} bytes of results came for {total - EXTRA} images, expected {total * self._bytes_out} with "
                f"the {EXTRA} known ones: a result is missing or too many, so none can be trusted."
            )

    def _ended(self) -> bool:
        """Tell whether both channels are idle. Raises DeviceError if one is in error, which halts both, or halted."""
        statuses = self._statuses()
        if any(status & (HALTED | ERROR_BITS) for status in statuses):
            raise DeviceError(f"the DMA failed: {self._describe()}")
        return all(status & IDLE for status in statuses)

    def _statuses(self) -> list[int]:
        return [self._dma.read(channel + DmaReg.DMASR) for channel in DMA_CHANNELS.values()]

    def _describe(self) -> str:
        words = []
        for name, status in zip(DMA_CHANNELS, self._statuses(), strict=True):
            meaning = [text for bit, text in DMA_ERRORS.items() if status & bit]
            meaning += ["halted"] if status & HALTED else []
            words.append(
                f"{name} status 0x{status:08X} ({', '.join(meaning or ['idle' if status & IDLE else 'busy'])})"
            )
        return ", ".join(words)


def _parameter(parameters: Any, name: str, default: int, least: int, greatest: int) -> int:
    """Return a parameter of the DMA, which pynq took as text from the design's description. Raises DeviceError."""
    found = parameters.get(name, default) if isinstance(parameters, Mapping) else parameters
    try:
        value = int(found, 0) if isinstance(found, str) else operator.index(found)
    except (TypeError, ValueError):
        value = least - 1
    if not least <= value <= greatest:
        raise DeviceError(
            f"the bitstream's description says {name}={found!r:.40} of its DMA, expected {least} to {greatest}. Copy "
            "the whole folder again."
        )
    return value
