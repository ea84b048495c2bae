"""Registers as pynq sees them: an array of 32-bit words, and MMIO's read and write with its checks."""

from typing import Any

from driver.simulated.device import SimulatedDevice


class Window:
    """An array of registers, as far as pynq indexes the memory map: integers, slices and `view`."""

    def __init__(self, device: SimulatedDevice, base: int, size: int) -> None:
        """Show `size` bytes from the physical address `base`."""
        self._device, self._base, self._size = device, base, size

    def __len__(self) -> int:
        """Return the number of words."""
        return self._size // 4

    def __getitem__(self, index: Any) -> Any:
        """Return a register, or a window on some of them."""
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            return Window(self._device, self._base + 4 * start, 4 * (stop - start))
        return self._device.read(self._address(index))

    def __setitem__(self, index: int, value: int) -> None:
        """Set a register."""
        self._device.write(self._address(index), int(value))

    def view(self, dtype: object = None) -> "Window":
        """Return the window itself: its words are 32-bit already."""
        return self

    def _address(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"register {index} is outside of {len(self)} words at 0x{self._base:08X}")
        return self._base + 4 * int(index)


class Mmio:
    """Stands for pynq.MMIO, refusing what that refuses."""

    def __init__(self, device: SimulatedDevice, base: int, size: int) -> None:
        """Map `size` bytes at the physical address `base`."""
        self.base_addr, self.length = base, size
        self.array = Window(device, base, size)

    def read(self, offset: int = 0, length: int = 4, word_order: str = "little") -> int:
        """Return `length` bytes at `offset` as an integer."""
        if length not in (1, 2, 4, 8):
            raise ValueError("MMIO reads 1, 2, 4 or 8 bytes.")
        if offset < 0:
            raise ValueError("Offset cannot be negative.")
        if offset % 4:
            raise MemoryError("Unaligned read: offset must be multiple of 4.")
        low = int(self.array[offset >> 2])
        if length < 8:
            return low & ((1 << 8 * length) - 1)
        high = int(self.array[(offset >> 2) + 1])
        return high << 32 | low if word_order == "little" else low << 32 | high

    def write(self, offset: int, data: int | bytes) -> None:
        """Write one word, or bytes as words."""
        if offset < 0:
            raise ValueError("Offset cannot be negative.")
        if offset % 4:
            raise MemoryError("Unaligned write: offset must be multiple of 4.")
        if type(data) is int:  # a numpy integer is refused, as by pynq
            self.array[offset >> 2] = data
        elif type(data) is bytes:
            if len(data) % 4:
                raise MemoryError("Unaligned write: data length must be multiple of 4.")
            for i in range(0, len(data), 4):
                self.array[(offset + i) >> 2] = int.from_bytes(data[i : i + 4], "little")
        else:
            raise ValueError("Data type must be int or bytes.")
