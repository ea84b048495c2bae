"""The real pynq package on a simulated device: its Overlay, its DMA driver, its MMIO, its clocks and its buffers.

Needs `pip install pynq==4.0.0` in an environment of its own, because it wants numpy below 2.
"""

import ctypes
import tempfile
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from driver.simulated.device import SimulatedDevice
from driver.simulated.hwh import write_hwh
from driver.simulated.memory import byte_size
from driver.simulated.windows import Window


def pynq_runtime(device: SimulatedDevice) -> Any:
    """Make `device` pynq's active device; return the parts of pynq that a driver uses, under pynq's names.

    Where the bitstream is not there, an empty file of its name stands for it: the device already is what it would make
    of the board. Overlays describe `device`, not the file.
    """
    import pynq
    import pynq.lib.dma  # registers the driver of the AXI DMA
    from pynq.pl_server.device import Device

    board = _board_class()(device)
    Device.active_device = board
    pynq.Clocks.set_device(board)
    if "_real_instance" in vars(pynq.Clocks):
        del pynq.Clocks._real_instance  # pynq keeps the clocks of the first device of a process for ever

    def overlay(bitfile_name: str, *args: Any, **kwargs: Any) -> Any:
        path = Path(bitfile_name)
        if not path.is_file():
            path = Path(board.folder.name) / path.name
            path.touch()
        return pynq.Overlay(str(path), *args, device=board, **kwargs)

    return SimpleNamespace(Overlay=overlay, MMIO=pynq.MMIO, allocate=pynq.allocate, Clocks=pynq.Clocks)


def _board_class() -> type:
    """Return the subclass of pynq's Device; a function because pynq may not be there when this module is imported."""
    from pynq.buffer import PynqBuffer
    from pynq.pl_server.device import Device
    from pynqmetadata.frontends import Metadata
    from pynqmetadata.views.runtime.runtime_metadata_parser import RuntimeMetadataParser

    class SimulatedBoard(Device):
        """What pynq asks of a board. pynq probes no such class, so it is active only where somebody makes it so."""

        def __init__(self, device: SimulatedDevice) -> None:
            super().__init__(tag="simulated")
            self.name = "simulated"
            self.arch = device.processors.machine  # pynq.Clocks chooses the registers by this
            self.timestamp = ""
            self.folder = tempfile.TemporaryDirectory()
            self._device = device

        def has_capability(self, cap: str) -> bool:
            return cap == "MEMORY_MAPPED"

        def mmap(self, base_addr: int, length: int) -> Window:
            return Window(self._device, base_addr, length)

        def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> Any:
            hwh = Path(self.folder.name) / "simulated.hwh"
            write_hwh(hwh, self._device)
            return RuntimeMetadataParser(Metadata(input=str(hwh)))

        def allocate(self, shape: Any, dtype: Any, **kwargs: Any) -> Any:
            memory = self._device.memory
            address = memory.allocate(byte_size(shape, dtype))
            buffer = PynqBuffer(shape, dtype, device=self, device_address=address, bo=address, coherent=False)
            weakref.finalize(buffer, memory.free, address)
            buffer.invalidate()
            return buffer

        def flush(self, bo: int, offset: int, pointer: int, size: int) -> None:
            self._device.memory.write(bo + offset, ctypes.string_at(pointer, size))

        def invalidate(self, bo: int, offset: int, pointer: int, size: int) -> None:
            ctypes.memmove(pointer, self._device.memory.read(bo + offset, size), size)

        def download(self, bitstream: Any, parser: Any = None) -> None:
            self._device.download()
            super().post_download(bitstream, parser, self.name)

    return SimulatedBoard
