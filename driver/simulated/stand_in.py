"""A stand-in for the pynq module: the surface that a driver uses, on a simulated device, with numpy alone.

It does what pynq 4.0.0 does, the unpleasant parts included: a DMA channel's start() waits for ever when nothing
answers, and wait() never gives up.
"""

import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contract.shells import DMA_CHANNELS, HALTED, IDLE, RUN, DmaReg
from driver.simulated.device import AXI_DMA, Ip, SimulatedDevice
from driver.simulated.memory import byte_size
from driver.simulated.windows import Mmio

_ERROR_BITS = 0x70
_ERROR_TEXTS = (
    (0x10, "DMA Internal Error (transfer length 0?)"),
    (0x20, "DMA Slave Error (cannot access memory map interface)"),
    (0x40, "DMA Decode Error (invalid address)"),
)


class StandIn:
    """Stands for the module `pynq`: Overlay, allocate, MMIO and Clocks."""

    def __init__(self, device: SimulatedDevice) -> None:
        """Make `device` the one board there is."""
        self._device = device
        self.Clocks = _Clocks(device)

    def Overlay(self, bitfile_name: str, dtbo: object = None, download: bool = True, **_: Any) -> "Overlay":  # noqa: N802
        """Return the loaded design. The file need not exist: the device already is what it would make of the board."""
        if not isinstance(bitfile_name, str):
            raise TypeError("Bitstream name has to be a string.")
        return Overlay(self._device, bitfile_name, download=download)

    def MMIO(self, base_addr: int, length: int = 4, device: object = None) -> Mmio:  # noqa: N802
        """Return registers by physical address."""
        return Mmio(self._device, base_addr, length)

    def allocate(self, shape: Any, dtype: Any = "u4", target: object = None, **_: Any) -> "Buffer":
        """Return memory that the device can reach."""
        size = byte_size(shape, dtype)
        memory = self._device.memory
        address = memory.allocate(size)
        raw = np.frombuffer(bytearray(memory.read(address, size)), np.uint8)
        buffer: Buffer = raw.view(dtype).reshape(shape).view(Buffer)
        buffer.attach(address, memory.read, memory.write, weakref.finalize(buffer, memory.free, address))
        return buffer


class Buffer(np.ndarray):  # type: ignore[type-arg] # numpy 1.21 takes no argument
    """Stands for pynq.buffer.PynqBuffer. A slice has the right address."""

    device_address: int
    _read: Callable[[int, int], bytes]
    _write: Callable[[int, bytes], None]
    _free: Callable[[], object]

    def attach(
        self,
        address: int,
        read: Callable[[int, int], bytes],
        write: Callable[[int, bytes], None],
        free: Callable[[], object],
    ) -> None:
        """Connect this array with the memory behind it."""
        self.device_address, self._read, self._write, self._free = address, read, write, free

    def __array_finalize__(self, other: Any) -> None:
        """Give a view the address of its first element."""
        if isinstance(other, Buffer) and hasattr(other, "device_address"):
            offset = self.virtual_address - other.virtual_address
            self.attach(other.device_address + offset, other._read, other._write, other._free)

    @property
    def physical_address(self) -> int:
        """The same as device_address."""
        return self.device_address

    @property
    def virtual_address(self) -> int:
        """Where the CPU sees the data."""
        return int(self.__array_interface__["data"][0])

    def flush(self) -> None:
        """Make what the CPU wrote visible to the device."""
        self._write(self.device_address, np.asarray(self).tobytes())

    def invalidate(self) -> None:
        """Make what the device wrote visible to the CPU."""
        raw = np.frombuffer(self._read(self.device_address, self.nbytes), self.dtype)
        np.asarray(self)[...] = raw.reshape(self.shape)

    sync_to_device = flush
    sync_from_device = invalidate

    def freebuffer(self) -> None:
        """Give the memory back. The device gets a decode error there from now on."""
        self._free()


class _Clocks:
    """Stands for pynq.Clocks."""

    def __init__(self, device: SimulatedDevice) -> None:
        self._device, self._clock = device, device.clock.layout

    @property
    def fclk0_mhz(self) -> float:
        """Frequency of PL clock 0 [MHz], from its register."""
        value = self._device.read(self._clock.register)
        divisor0, divisor1 = value >> 8 & 63, value >> self._clock.divisor1_shift & 63
        return round(self._clock.source_mhz / (divisor0 * divisor1), 6)

    @fclk0_mhz.setter
    def fclk0_mhz(self, mhz: float) -> None:
        """Set the nearest frequency that two divisors of 1..63 give."""
        source, shift = self._clock.source_mhz, self._clock.divisor1_shift
        products = {i * j: (i, j) for i in range(1, 64) for j in range(1, 64)}
        product = min(products, key=lambda product: abs(product - source / mhz))
        if abs(mhz - source / product) > 0.01 * mhz:
            warnings.warn(f"Setting frequency to the closest possible value {source / product:.5f}MHz.", stacklevel=2)
        kept = self._device.read(self._clock.register) & ~(63 << 8 | 63 << shift)
        divisor0, divisor1 = products[product]
        self._device.write(self._clock.register, kept | divisor0 << 8 | divisor1 << shift)


class Overlay:
    """Stands for pynq.Overlay. Every IP of the design is an attribute, made when it is first used and then kept."""

    def __init__(self, device: SimulatedDevice, bitfile_name: str, *, download: bool) -> None:
        """Describe the design of `device`, and load it."""
        self._device = device
        self.bitfile_name = str(Path(bitfile_name).absolute())
        self.ip_dict = {name: _describe(ip) for name, ip in device.ips.items()}
        self.timestamp = ""
        self._made: dict[str, Any] = {}
        if download:
            self.download()

    def download(self, dtbo: object = None) -> None:
        """Set the PL clock and load the bitstream. IPs already made are kept, though their registers are reset."""
        _Clocks(self._device).fclk0_mhz = self._device.hardware.clock_mhz
        self._device.download()
        self.timestamp = self._device.timestamp

    def is_loaded(self) -> bool:
        """Tell whether this is the design that was loaded last."""
        return not self.timestamp or self.timestamp == self._device.timestamp

    def __getattr__(self, name: str) -> Any:
        """Return the driver of an IP."""
        if name.startswith("_"):
            raise AttributeError(name)
        if not self.is_loaded():
            raise RuntimeError("Overlay not currently loaded")
        ip = self._device.ips.get(name)
        if ip is None:
            raise AttributeError(f"Could not find IP or hierarchy {name} in overlay")
        if name not in self._made:
            self._made[name] = (_Dma if ip.type == AXI_DMA else _Ip)(self._device, ip)
        return self._made[name]


def _describe(ip: Ip) -> dict[str, Any]:
    return {
        "type": ip.type,
        "phys_addr": ip.address,
        "addr_range": ip.registers.size,
        "parameters": dict(ip.parameters),
        "fullpath": ip.name,
    }


class _Ip:
    """Stands for pynq.DefaultIP."""

    def __init__(self, device: SimulatedDevice, ip: Ip) -> None:
        self.mmio = Mmio(device, ip.address, ip.registers.size)

    def read(self, offset: int = 0) -> int:
        """Return the register at `offset`."""
        return self.mmio.read(offset)

    def write(self, offset: int, value: int | bytes) -> None:
        """Set the register at `offset`."""
        self.mmio.write(offset, value)


class _Dma(_Ip):
    """Stands for pynq.lib.dma.DMA in simple mode."""

    def __init__(self, device: SimulatedDevice, ip: Ip) -> None:
        super().__init__(device, ip)
        self.buffer_max_size = (1 << int(ip.parameters["c_sg_length_width"])) - 1
        self.sendchannel = _Channel(self.mmio, self.buffer_max_size, _bytes(ip, "mm2s"), 0)
        self.recvchannel = _Channel(self.mmio, self.buffer_max_size, _bytes(ip, "s2mm"), DMA_CHANNELS["S2MM"])


def _bytes(ip: Ip, channel: str) -> int:
    return int(ip.parameters[f"c_m_axi_{channel}_data_width"]) // 8


class _Channel:
    """Stands for pynq.lib.dma._SDMAChannel without data realignment."""

    def __init__(self, mmio: Mmio, max_size: int, align: int, base: int) -> None:
        self._mmio, self._max_size, self._align, self._base = mmio, max_size, align, base
        self._buffer: Any = None
        self.transferred = 0
        self.start()

    def _status(self) -> int:
        return self._mmio.read(self._base + DmaReg.DMASR)

    @property
    def running(self) -> bool:
        """Whether the channel is not halted."""
        return not self._status() & HALTED

    @property
    def idle(self) -> bool:
        """Whether a transfer has ended and none has begun since."""
        return bool(self._status() & IDLE)

    @property
    def error(self) -> bool:
        """Whether the channel has failed."""
        return bool(self._status() & _ERROR_BITS)

    def start(self) -> None:
        """Let the channel run."""
        self._mmio.write(self._base + DmaReg.DMACR, RUN)
        while not self.running:
            pass
        self._first = True

    def stop(self) -> None:
        """Halt the channel."""
        self._mmio.write(self._base + DmaReg.DMACR, 0)
        while self.running:
            pass

    def transfer(self, array: Any, start: int = 0, nbytes: int = 0) -> None:
        """Begin to transfer `nbytes` bytes, 0 for all, from byte `start` of a buffer."""
        if not self.running:
            raise RuntimeError("DMA channel not started")
        if not self.idle and not self._first:
            raise RuntimeError("DMA channel not idle")
        size = nbytes or array.nbytes - start
        if size > self._max_size:
            raise ValueError(
                f"Transfer size is {size} bytes, which exceeds the maximum DMA buffer size {self._max_size}."
            )
        address = array.physical_address + start
        if address % self._align:
            raise RuntimeError(
                f"DMA does not support unaligned transfers; Starting address must be aligned to {self._align} bytes."
            )
        if self._base != DMA_CHANNELS["S2MM"]:
            array.flush()
        self.transferred = 0
        self._mmio.write(self._base + DmaReg.SA, address & 0xFFFFFFFF)
        self._mmio.write(self._base + DmaReg.SA_MSB, address >> 32 & 0xFFFFFFFF)
        self._mmio.write(self._base + DmaReg.LENGTH, size)
        self._buffer, self._first = array, False

    def wait(self) -> None:
        """Wait until the transfer has ended."""
        if not self.running:
            raise RuntimeError("DMA channel not started")
        while True:
            status = self._status()
            if self.error:
                for bit, text in _ERROR_TEXTS:
                    if status & bit:
                        raise RuntimeError(text)
            if self.idle:
                break
        if self._base == DMA_CHANNELS["S2MM"]:
            self._buffer.invalidate()
        self.transferred = self._mmio.read(self._base + DmaReg.LENGTH)
        self._buffer = None
