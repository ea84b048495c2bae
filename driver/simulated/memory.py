"""The DDR memory that a simulated DMA reads and writes.

A buffer that software sees is the CPU's cache: its data reach this memory when it is flushed, and what the DMA wrote
reaches the buffer when it is invalidated. So software that forgets one of them gets wrong data here too.
"""

import threading
from bisect import bisect_right
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAGE = 4096  # bytes; every allocation starts on a page
GARBAGE = 0xA5  # what new memory holds


def byte_size(shape: Any, dtype: Any) -> int:
    """Return the bytes of an array; `shape` and `dtype` as numpy takes them."""
    return int(np.prod(shape, dtype=np.int64)) * int(np.dtype(dtype).itemsize)


class BusError(Exception):
    """The DMA asked for an address where there is no memory."""


class PhysicalMemory:
    """Allocations by physical address, in the order they were made."""

    def __init__(self, base: int = 0x1000_0000) -> None:
        """Hand out addresses from `base` upwards; it may be above 4 GiB."""
        self._next = base
        self._starts: list[int] = []  # ascending
        self._blocks: dict[int, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()

    def allocate(self, size: int) -> int:
        """Return the address of `size` new bytes. An unused page follows each block, so overruns are bus errors."""
        with self._lock:
            address = self._next
            self._next += (size + PAGE - 1) // PAGE * PAGE + PAGE
            self._starts.append(address)
            self._blocks[address] = np.full(size, GARBAGE, np.uint8)
            return address

    def free(self, address: int) -> None:
        """Give back what `allocate` returned; once is enough."""
        with self._lock:
            if self._blocks.pop(address, None) is not None:
                self._starts.remove(address)

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes. Raises BusError."""
        with self._lock:
            return self._block(address, size).tobytes()

    def write(self, address: int, data: bytes) -> None:
        """Store `data`. Raises BusError."""
        with self._lock:
            self._block(address, len(data))[:] = np.frombuffer(data, np.uint8)

    def _block(self, address: int, size: int) -> NDArray[np.uint8]:
        i = bisect_right(self._starts, address) - 1
        if i >= 0:
            start = self._starts[i]
            block = self._blocks[start][address - start : address - start + size]
            if len(block) == size:
                return block
        raise BusError(f"no memory at 0x{address:X}, {size} bytes")
