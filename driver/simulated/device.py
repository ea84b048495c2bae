"""The simulated board: one accelerator, its DMA, memory and clock, at their physical addresses."""

import itertools
from dataclasses import dataclass, replace

from contract.manifest import Hardware
from contract.processors import processors_of
from contract.shells import CELLS
from driver.simulated.core import Core
from driver.simulated.faults import Faults
from driver.simulated.memory import PhysicalMemory
from driver.simulated.registers import AxiDmaModel, FinnIodmaModel, PsClock, Registers
from driver.simulated.stream import Streams

DEAD = 0xFFFFFFFF  # what a register reads as when nothing answers
AXI_DMA, FINN_IODMA = "xilinx.com:ip:axi_dma:7.1", "xilinx_finn:finn:"  # types of IP


@dataclass(frozen=True)
class Ip:
    """One IP of the loaded design that software can reach."""

    name: str
    type: str
    address: int
    registers: Registers
    parameters: dict[str, str]


def with_shell(hardware: Hardware, shell: str = "axi_dma") -> Hardware:
    """Return `hardware` with its shell, or with the one given here if there is no bitstream yet."""
    if hardware.shell is not None:
        return hardware
    return replace(hardware, shell=shell, dma=dict(CELLS[shell]))


class SimulatedDevice:
    """What a board is to software: registers and memory by physical address, and a bitstream that can be loaded."""

    def __init__(self, hardware: Hardware, core: Core, *, memory_base: int = 0x1000_0000) -> None:
        """Build the board around `core`.

        Args:
            hardware: of the manifest, with a shell: see `with_shell`.
            core: what computes.
            memory_base: address of the first buffer; may be above 4 GiB.
        """
        self.hardware = hardware
        self.memory = PhysicalMemory(memory_base)
        self.core = core
        self.downloads = 0  # how often the bitstream was loaded
        self.timestamp = ""  # of the last time
        self._faults = Faults()
        self._accesses = 0  # of registers since the faults were assigned
        self._streams = Streams(core, hardware)
        self.processors = processors_of(hardware.part)
        self.clock = PsClock(self.processors.clocks, lambda: self._faults)
        self.ips = {ip.name: ip for ip in self._design()}

    def _design(self) -> list[Ip]:
        base, names = self.processors.base, self.hardware.dma
        if self.hardware.shell == "axi_dma":
            result_bytes = self.hardware.output.width_bits // 8
            dma = AxiDmaModel(self.memory, self._streams, result_bytes, lambda: self._faults)
            return [Ip(names["dma"], AXI_DMA, base, dma, _axi_dma_parameters(self.hardware))]
        engines = []
        for i, (role, stream) in enumerate((("input", self.hardware.input), ("output", self.hardware.output))):
            model = FinnIodmaModel(self.memory, self._streams, stream, lambda: self._faults, output=role == "output")
            engines.append(Ip(names[role], f"{FINN_IODMA}{names[role]}:1.0", base + i * 0x10000, model, {}))
        return engines

    @property
    def faults(self) -> Faults:
        """What goes wrong; assign to change it."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        with self._streams.lock:
            self._faults, self._accesses = faults, 0
            self._streams.arm(faults)

    def read(self, address: int) -> int:
        """Return the register at a physical address. Raises OSError where nothing answers."""
        if self.clock.covers(address):
            self._require_board()
            return self.clock.read(address)
        if self._vanished():
            self._require_board()
            return DEAD
        ip = self._ip(address)
        return ip.registers.read(address - ip.address)

    def write(self, address: int, value: int) -> None:
        """Set the register at a physical address to the low 32 bits of `value`. Raises OSError as `read` does."""
        value &= 0xFFFFFFFF
        if self.clock.covers(address):
            self._require_board()
            self.clock.write(address, value)
        elif self._vanished():
            self._require_board()
        else:
            ip = self._ip(address)
            ip.registers.write(address - ip.address, value)

    def download(self) -> None:
        """Load the bitstream: everything in the programmable logic starts afresh. Raises OSError without a board."""
        self._require_board()
        for ip in self.ips.values():
            ip.registers.reset()
        self._streams.reset()
        with self._streams.lock:
            vanishes_after, seen = self._faults.vanish_after, self._accesses
            self.faults = self._faults.mended()
            if vanishes_after is not None:
                self._accesses = seen
        self.downloads += 1
        self.timestamp = f"download {next(_DOWNLOADS)}"

    def close(self) -> None:
        """End the core."""
        self.core.close()

    def _ip(self, address: int) -> Ip:
        for ip in self.ips.values():
            if ip.address <= address < ip.address + ip.registers.size:
                return ip
        raise OSError(f"bus error: nothing is at address 0x{address:08X}")

    def _vanished(self) -> bool:
        """Count one access of the programmable logic; tell whether nothing answers it."""
        if self._streams.broken is not None:
            raise self._streams.broken
        self._accesses += 1
        after = self._faults.vanish_after
        return after is not None and self._accesses > after

    def _require_board(self) -> None:
        after = self._faults.vanish_after
        if self._faults.vanish == "raises" and after is not None and self._accesses >= after:
            raise OSError("the board does not answer")


_DOWNLOADS = itertools.count(1)


def _axi_dma_parameters(hardware: Hardware) -> dict[str, str]:
    """Return what pynq looks at. The memory side is as wide as the stream, a power of two of 32 bits at least."""
    wide = max(32, 1 << (hardware.input.width_bits - 1).bit_length())
    return {
        "c_include_sg": "0",
        "c_micro_dma": "0",
        "c_sg_length_width": "26",
        "c_include_mm2s": "1",
        "c_include_mm2s_dre": "0",
        "c_m_axi_mm2s_data_width": str(wide),
        "c_m_axis_mm2s_tdata_width": str(hardware.input.width_bits),
        "c_mm2s_burst_size": "16",
        "c_include_s2mm": "1",
        "c_include_s2mm_dre": "0",
        "c_m_axi_s2mm_data_width": "32",
        "c_s_axis_s2mm_tdata_width": str(hardware.output.width_bits),
        "c_s2mm_burst_size": "16",
    }
