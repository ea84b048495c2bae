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
from driver.reference import Reference

SLOTS = 2  # buffers: one is filled while the other one is computed
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
