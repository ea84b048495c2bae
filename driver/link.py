"""How the driver talks to something that computes logits: two buffers, start, finish.

While one buffer is being computed the other is filled; that is all the concurrency there is.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contract.errors import DeviceError, DeviceTimeoutError
from contract.manifest import Hardware
from driver.reference import Reference

SLOTS = 2  # buffers: one is filled while the other one is computed
SMALLEST_BUFFER = 8192  # bytes; smaller ones can get an address above 32 bits on some PYNQ images
DEAD_BUS = 0xFFFFFFFF  # what a register reads as when nothing answers


class Link(Protocol):
    """Something that turns pixels into logits."""

    capacity: int  # images per transfer

    def stage(self, slot: int, pixels: NDArray[np.uint8]) -> None:
        """Copy (N, height, width) images, N <= capacity, into buffer `slot`."""

    def start(self, slot: int, count: int) -> None:
        """Begin computing the first `count` images of buffer `slot`."""

    def finish(self, slot: int, count: int) -> NDArray[np.int64]:
        """Wait for the transfer that `start` began and return its (count,) logits. Raises DeviceError."""

    def reset(self) -> None:
        """Forget everything in flight. After it, `start` works and no old result can appear."""

    def close(self) -> None:
        """Free the buffers."""


class CpuLink:
    """The CPU reference."""

    capacity = 4096

    def __init__(self, reference: Reference) -> None:
        """Compute with `reference`."""
        self._reference = reference
        self._staged: list[NDArray[np.uint8]] = [np.empty((0, 0, 0), np.uint8)] * SLOTS

    def stage(self, slot: int, pixels: NDArray[np.uint8]) -> None:
        """See Link."""
        self._staged[slot] = pixels.copy()

    def start(self, slot: int, count: int) -> None:
        """See Link. The work is done in `finish`."""

    def finish(self, slot: int, count: int) -> NDArray[np.int64]:
        """See Link."""
        return self._reference(self._staged[slot][:count])

    def reset(self) -> None:
        """See Link."""

    def close(self) -> None:
        """See Link."""


class BoardLink:
    """What the shells share: two pairs of buffers that the device can reach, and a bitstream that can be loaded again.

    A shell adds `_connect`, `start` and `finish`.
    """

    def __init__(self, runtime: Any, bitstream: str, hardware: Hardware, *, capacity: int, timeout_s: float) -> None:
        """Load the bitstream, set the clock and allocate the buffers.

        Args:
            runtime: the pynq module or the same surface: Overlay, allocate, MMIO, Clocks.
            bitstream: path of the .bit file.
            hardware: of the manifest, with a shell.
            capacity: images per transfer.
            timeout_s: how long one transfer may take [s].

        Raises:
            DeviceError: the device does not answer, or its clock is wrong.
        """
        self._runtime, self._bitstream, self._hardware = runtime, bitstream, hardware
        self.capacity, self._timeout_s = capacity, timeout_s
        self._bytes_in, self._bytes_out = hardware.input.packed_bytes, hardware.output.packed_bytes
        self._buffers: list[Any] = []
        self._connect(self._load())
        try:
            self._inputs = [self._allocate(capacity * self._bytes_in) for _ in range(SLOTS)]
            self._outputs = [self._allocate(capacity * self._bytes_out) for _ in range(SLOTS)]
        except BaseException:
            self.close()
            raise

    def _load(self) -> Any:
        """Load the bitstream, which resets every register of the accelerator; return the overlay."""
        with device_errors("loading the bitstream"):
            overlay = self._runtime.Overlay(self._bitstream, download=True)
            set_clock(self._runtime.Clocks, self._hardware.clock_mhz)
        for role, name in self._hardware.dma.items():
            if name not in overlay.ip_dict:
                raise DeviceError(
                    f"the bitstream has no '{name}' ({role}), found {', '.join(overlay.ip_dict) or 'no IP at all'}. "
                    "Copy the whole folder again."
                )
        return overlay

    def _connect(self, overlay: Any) -> None:
        """Take hold of the DMA in a freshly loaded overlay. Raises DeviceError if it does not answer."""
        raise NotImplementedError

    def _allocate(self, size: int) -> Any:
        self._buffers.append(self._runtime.allocate(shape=(max(size, SMALLEST_BUFFER),), dtype=np.uint8))
        return self._buffers[-1]

    def stage(self, slot: int, pixels: NDArray[np.uint8]) -> None:
        """See Link. On the stream, pixels are in the order of the image: packing is one copy."""
        self._inputs[slot][: pixels.size] = pixels.reshape(-1)

    def reset(self) -> None:
        """See Link."""
        self._connect(self._load())

    def close(self) -> None:
        """See Link."""
        while self._buffers:
            self._buffers.pop().freebuffer()


@contextlib.contextmanager
def device_errors(doing: str) -> Iterator[None]:
    """Turn what pynq and the kernel raise about a device into DeviceError."""
    try:
        yield
    except (RuntimeError, OSError, ValueError, TypeError) as err:  # TypeError: pynq 4.0.0 loading a Zynq-7000 overlay
        raise DeviceError(f"{doing} failed: {err or type(err).__name__}. Restart the board if this repeats.") from err


def wait_until(done: Callable[[], bool], *, timeout_s: float, report: Callable[[], str]) -> None:
    """Poll until `done`. Raises DeviceTimeoutError with what `report` says."""
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise DeviceTimeoutError(f"no answer after {timeout_s:g} s: {report()}")


def set_clock(clocks: Any, wanted_mhz: float) -> None:
    """Set the accelerator's clock and read it back. `clocks` is pynq.Clocks or the same surface.

    Raises:
        DeviceError: the clock is more than 1 % off: another clock than the design was closed for.
    """
    clocks.fclk0_mhz = wanted_mhz
    found = float(clocks.fclk0_mhz)
    if not abs(found - wanted_mhz) <= 0.01 * wanted_mhz:
        raise DeviceError(
            f"the clock reads back as {found:g} MHz after it was set to {wanted_mhz:g} MHz. Restart the board, and "
            "check that no other program sets the clocks."
        )
