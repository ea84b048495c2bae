"""The `finn_iodma` shell: FINN's own DMA engines, one that reads memory and one that writes it.

Source: the s_axilite register map of Vitis HLS (UG1399, ap_ctrl_hs) and FINN's driver_base.py. FINN's driver writes one
half of a buffer's address and waits without an end; both are mended here.
"""

from typing import Any

from contract.errors import DeviceError
from contract.shells import DONE, ENGINE_IDLE, START, EngineReg
from driver.link import BoardLink, Registers
from driver.witness import EXTRA


class FinnIodmaLink(BoardLink):
    """FINN's input and output engines."""

    _done = False  # the output engine has finished

    def _connect(self, overlay: Any) -> None:
        self._input, self._output = (self._registers(overlay, role) for role in ("input", "output"))
        for engine in (self._input, self._output):
            engine.read(EngineReg.CTRL)  # an end of before goes
            self._require_rest(engine, "after loading")
            for register in (EngineReg.ADDRESS_LOW, EngineReg.REPS):
                engine.require_memory(register)

    def _require_rest(self, engine: Registers, when: str) -> None:
        """Raise DeviceError unless an engine is idle and has not done anything that nobody waited for."""
        status = engine.read(EngineReg.CTRL)
        if not status & ENGINE_IDLE or status & (START | DONE):
            raise DeviceError(
                f"{engine.name} {when} reads 0x{status:08X}, expected bit 2 (idle) and neither bit 0 (start) nor bit 1 "
                "(done): an old transfer is stuck, or another program uses the board."
            )

    def _launch(self, slot: int, total: int) -> None:
        # The writer first: nothing may come out that nobody waits for.
        for engine in (self._output, self._input):
            self._require_rest(engine, f"before {total - EXTRA} images are sent")
        self._done = False
        for engine, buffer in ((self._output, self._outputs[slot]), (self._input, self._inputs[slot])):
            address = int(buffer.device_address)
            engine.write(EngineReg.ADDRESS_LOW, address & 0xFFFFFFFF)
            engine.write(EngineReg.ADDRESS_HIGH, address >> 32)
            engine.write(EngineReg.REPS, total)
            engine.write(EngineReg.CTRL, START)

    def _wait(self, total: int) -> None:
        self._poll(self._ended, total, self._describe)

    def _ended(self) -> bool:
        """Tell whether the output engine is done and the input engine can start again.

        Reading clears the done bit, so it is kept.
        """
        self._done = self._done or bool(self._output.read(EngineReg.CTRL) & DONE)
        return self._done and bool(self._input.read(EngineReg.CTRL) & ENGINE_IDLE)

    def _describe(self) -> str:
        words = [
            f"{role} engine 0x{engine.read(EngineReg.CTRL):08X}"
            for role, engine in (("input", self._input), ("output", self._output))
        ]
        return f"{', '.join(words)} (bit 0 start, bit 1 done, bit 2 idle)"
