"""How the driver talks to something that computes a network's integers: two buffers, start, finish.

While one buffer is being computed the other is filled; that is all the concurrency there is.

What of pynq may wait for ever, and what bounds it here:

- `Overlay(...)`, which downloads, and `Clocks`: run xclbinutil, write to the kernel's FPGA manager. Within LOAD_S.
- `allocate`: asks the kernel for contiguous memory. Within ALLOCATE_S.
- `start`, `stop`, `wait` of a channel of pynq.lib.dma: poll a register without an end. Not called: see axi_dma.py.
- `Interrupt.wait`, `wait_async`: an interrupt may be lost. Not called: nothing here uses interrupts.
- `MMIO.read`, `MMIO.write`: one load or store. A bus that never answers stops the processor core itself, and no program
  on it can do anything about that.
- `flush`, `invalidate`, `freebuffer` of a buffer: one call of the kernel, which waits for nothing.

What takes more than one of the last two is polled, against the `timeout_s` of the transfer or against SETTLE_S.
"""

import contextlib
import threading
import time
from _thread import start_new_thread  # Thread.start waits in Python, and Ctrl-C there becomes a RuntimeError
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.errors import CxrflowError, DeviceError, DeviceTimeoutError
from contract.manifest import Hardware
from contract.shells import LARGEST_TRANSFER
from contract.values import VALUES
from driver.reference import Reference
from driver.witness import EXTRA, Witness, shown

T = TypeVar("T")
SLOTS = 2  # buffers: one is filled while the other one is computed
SMALLEST_BUFFER = 8192  # bytes; smaller ones can get an address above 32 bits on some PYNQ images
DEAD_BUS = 0xFFFFFFFF  # what a register reads as when nothing answers
BITSTREAM = "accelerator.bit"
DESIGN = (BITSTREAM, "accelerator.hwh")  # pynq reads the second beside the first
LOAD_S = 120.0  # loading a bitstream may take [s]; parsing its description is slow on a small processor
ALLOCATE_S = 30.0  # allocating one buffer may take [s]
SETTLE_S = 1.0  # a freshly loaded DMA may take to be ready [s]

_STILL_WRITTEN: list[Any] = []  # buffers that a DMA nobody could stop may still write to; never freed


class Link(Protocol):
    """Something that turns images into integers."""

    capacity: int  # images per transfer

    def stage(self, slot: int, pixels: NDArray[Any]) -> None:
        """Copy (N, *Input.shape) images, N <= capacity, into buffer `slot`."""

    def start(self, slot: int, count: int) -> None:
        """Begin computing the first `count` images of buffer `slot`."""

    def finish(self, slot: int, count: int) -> NDArray[np.int64]:
        """Wait for the transfer that `start` began and return its (count, K) integers. Raises DeviceError."""

    def check(self) -> None:
        """Raise DeviceError if what computes is no longer what was loaded."""

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
        self._staged: list[NDArray[Any]] = [np.empty((0, 0, 0), np.uint8)] * SLOTS

    def stage(self, slot: int, pixels: NDArray[Any]) -> None:
        """See Link."""
        self._staged[slot] = pixels.copy()

    def start(self, slot: int, count: int) -> None:
        """See Link. The work is done in `finish`."""

    def finish(self, slot: int, count: int) -> NDArray[np.int64]:
        """See Link."""
        return self._reference.outputs(self._staged[slot][:count])

    def check(self) -> None:
        """See Link."""

    def reset(self) -> None:
        """See Link."""

    def close(self) -> None:
        """See Link."""


class TwiceLink:
    """A link that lets every image through twice, the second time in the opposite order, and believes equal answers."""

    def __init__(self, link: Link) -> None:
        """Ask `link`."""
        self._link, self.capacity = link, max(1, link.capacity // 2)

    def stage(self, slot: int, pixels: NDArray[Any]) -> None:
        """See Link."""
        self._link.stage(slot, np.concatenate((pixels, pixels[::-1])))

    def start(self, slot: int, count: int) -> None:
        """See Link."""
        self._link.start(slot, 2 * count)

    def finish(self, slot: int, count: int) -> NDArray[np.int64]:
        """See Link."""
        outputs = self._link.finish(slot, 2 * count)
        first, second = outputs[:count], outputs[count:][::-1]
        differing = np.flatnonzero((first != second).any(axis=1))
        if differing.size:
            i = int(differing[0])
            raise DeviceError(
                f"{differing.size} of {count} images got two different logits when they went through the device twice; "
                f"first image {i} of a transfer: {shown(first[i])} and {shown(second[i])}. No answer can be trusted."
            )
        return first

    def check(self) -> None:
        """See Link."""
        self._link.check()

    def reset(self) -> None:
        """See Link."""
        self._link.reset()

    def close(self) -> None:
        """See Link."""
        self._link.close()


class Registers:
    """A range of registers of the loaded design. Everything that goes wrong there is a DeviceError."""

    def __init__(self, mmio: Any, name: str) -> None:
        """Wrap pynq's MMIO, or the same surface, of the IP `name`."""
        self._mmio, self.name = mmio, name

    def read(self, offset: int) -> int:
        """Return a register. Raises DeviceError if nothing answers."""
        try:
            value = int(self._mmio.read(offset))
        except CxrflowError:
            raise
        except Exception as err:
            raise DeviceError(_failed(f"reading a register of {self.name}", err)) from err
        if value == DEAD_BUS:
            raise DeviceError(
                f"register 0x{offset:02X} of {self.name} reads 0x{value:08X}: nothing answers. Restart the board."
            )
        return value

    def write(self, offset: int, value: int) -> None:
        """Set a register. pynq's MMIO takes nothing but Python's own integers."""
        try:
            self._mmio.write(offset, value)
        except CxrflowError:
            raise
        except Exception as err:
            raise DeviceError(_failed(f"writing a register of {self.name}", err)) from err

    def require_memory(self, offset: int, mask: int = 0xFFFFFFFF) -> None:
        """Write two patterns to a plain register and read them back. Raises DeviceError if it does not keep them."""
        for pattern in (0x5A5A_5A58 & mask, 0xA5A5_A5A0 & mask):
            self.write(offset, pattern)
            found = self.read(offset)
            if found & mask != pattern:
                raise DeviceError(
                    f"register 0x{offset:02X} of {self.name} reads 0x{found:08X} after 0x{pattern:08X} was written: "
                    "what is loaded is not this design, or the bus is broken. Restart the board."
                )


class BoardLink:
    """What the shells share: two pairs of buffers that the device can reach, and a bitstream that can be loaded again.

    Each transfer is `count` images and the two of the witness, and its results are read only if the witness agrees: see
    driver/witness.py for what that finds. A shell adds `_connect`, `_launch` and `_wait`.
    """

    def __init__(
        self,
        runtime: Any,
        design: Mapping[str, bytes],
        hardware: Hardware,
        witness: Witness,
        *,
        capacity: int,
        timeout_s: float,
        progress: Callable[[], object] | None = None,
    ) -> None:
        """Load the bitstream, set the clock and allocate the buffers.

        Args:
            runtime: the pynq module or the same surface: Overlay, allocate, MMIO, Clocks.
            design: the files of DESIGN, by name. What is loaded, now and after a fault, is this and not what lies on a
                disk by then. May be empty where the runtime needs no file.
            hardware: of the manifest, with a shell.
            witness: the images at the end of each transfer.
            capacity: images per transfer; less where the buffers would be larger than a DMA can transfer.
            timeout_s: how long one transfer may take [s].
            progress: whenever this returns something else, `timeout_s` starts again; for simulators, whose time is not
                the clock's.

        Raises:
            DeviceError: the device does not answer, or its clock is wrong.
        """
        self._runtime, self._design, self._hardware, self._witness = runtime, dict(design), hardware, witness
        self._timeout_s, self._progress = timeout_s, progress or (lambda: None)
        self._bytes_in, self._bytes_out = hardware.input.packed_bytes, hardware.output.packed_bytes
        self._values, self._lanes = VALUES[hardware.input.datatype], hardware.input.folded_shape[1]
        self._results_per_image = hardware.output.shape[0]
        self._result_bytes = self._bytes_out // self._results_per_image
        self.capacity = max(1, min(capacity, LARGEST_TRANSFER // max(self._bytes_in, self._bytes_out) - EXTRA))
        self._total = self.capacity + EXTRA
        self._buffers: list[Any] = []
        self._calling = threading.Lock()  # held by the thread that is in a call of pynq which may not come back
        self._quiet = True  # no DMA can be writing to a buffer
        self._overlay = self._load()
        try:
            self._connect(self._overlay)
            self._inputs = [self._allocate(self._total * self._bytes_in) for _ in range(SLOTS)]
            self._outputs = [self._allocate(self._total * self._bytes_out) for _ in range(SLOTS)]
        except BaseException:
            self.close()
            raise

    def _load(self) -> Any:
        """Load the bitstream, which resets every register of the accelerator; return the overlay."""
        overlay = self._bounded(self._load_and_set_clock, timeout_s=LOAD_S, doing="loading the bitstream")
        self._quiet = True
        for role, name in self._hardware.dma.items():
            if name not in overlay.ip_dict:
                raise DeviceError(
                    f"the bitstream has no '{name}' ({role}), found {', '.join(overlay.ip_dict) or 'no IP at all'}. "
                    "Copy the whole folder again."
                )
        return overlay

    def _load_and_set_clock(self) -> Any:
        from contract.scratch import scratch  # of Unix; the CPU reference runs elsewhere, too

        with scratch("bitstream") as place:
            folder = place / "design"
            folder.mkdir()
            for name, content in self._design.items():
                (folder / name).write_bytes(content)
            overlay = self._runtime.Overlay(str(folder / BITSTREAM), download=True)
        set_clock(self._runtime.Clocks, self._hardware.clock_mhz)
        return overlay

    def _connect(self, overlay: Any) -> None:
        """Take hold of the DMA in a freshly loaded overlay. Raises DeviceError if it is not as after a reset."""
        raise NotImplementedError

    def _launch(self, slot: int, total: int) -> None:
        """Begin to transfer `total` images of buffer `slot`. Raises DeviceError if the DMA is not at rest."""
        raise NotImplementedError

    def _wait(self, total: int) -> None:
        """Wait until `total` images have gone in and as many results have come out. Raises DeviceError."""
        raise NotImplementedError

    def _registers(self, overlay: Any, role: str) -> Registers:
        """Return the registers of the cell that the manifest names for `role`."""
        name = self._hardware.dma[role]
        entry = overlay.ip_dict[name]
        with device_errors(f"mapping the registers of {name}"):
            return Registers(self._runtime.MMIO(int(entry["phys_addr"]), int(entry["addr_range"])), name)

    def _allocate(self, size: int) -> Any:
        def allocate() -> Any:
            return self._runtime.allocate(shape=(max(size, SMALLEST_BUFFER),), dtype=np.uint8)

        self._buffers.append(self._bounded(allocate, timeout_s=ALLOCATE_S, doing=f"allocating {size:,} bytes"))
        return self._buffers[-1]

    def _bounded(self, call: Callable[[], T], *, timeout_s: float, doing: str) -> T:
        """Return what `call` returns, from a thread of its own, or give up. Raises DeviceError.

        A thread cannot be stopped: a call that does not come back, or was left by Ctrl-C, is waited for by the next
        one, which is not made before the first has ended. Nothing here is held by the calling thread, where Ctrl-C may
        come at any moment.
        """
        outcome: list[tuple[bool, Any]] = []
        state = {"begun": False, "wanted": True}
        ended = threading.Lock()
        ended.acquire()

        def work() -> None:
            if self._calling.acquire(timeout=timeout_s):
                try:
                    if state["wanted"]:
                        state["begun"] = True
                        with device_errors(doing):
                            outcome.append((True, call()))
                except BaseException as err:
                    outcome.append((False, err))
                finally:
                    self._calling.release()
                    ended.release()

        try:
            with device_errors(doing):
                start_new_thread(work, ())
            ended.acquire(timeout=timeout_s)
        finally:
            state["wanted"] = False
        if not state["begun"]:
            raise DeviceTimeoutError(f"{doing} is not tried: an earlier call of pynq has not come back. {_END_PROGRAM}")
        if not outcome:
            raise DeviceTimeoutError(f"{doing} has not ended after {timeout_s:g} s. {_END_PROGRAM}")
        worked, value = outcome[0]
        if not worked:
            raise value
        return value  # type: ignore[no-any-return]

    def stage(self, slot: int, pixels: NDArray[Any]) -> None:
        """See Link. Whole bytes are in the order of the image on the stream: then packing is one copy."""
        packed = self._values.pack(pixels.reshape(len(pixels), -1), lanes=self._lanes)
        self._fill(slot, packed.reshape(-1), len(pixels), self._witness.poisons[0])

    def _fill(self, slot: int, packed: NDArray[np.uint8], count: int, poison: bytes) -> None:
        """Put `count` packed images and the witness's into buffer `slot`.

        The results' buffer is poisoned, so that a result which is never written is no other batch's.
        """
        source = self._inputs[slot][: (count + EXTRA) * self._bytes_in]
        target = self._outputs[slot][: (count + EXTRA) * self._bytes_out]
        np.concatenate((packed, self._witness.packed), out=np.asarray(source))
        np.asarray(target).reshape(-1, self._result_bytes)[:] = np.frombuffer(poison, dtype=np.uint8)
        with device_errors("making images visible to the device"):
            source.flush()
            target.flush()  # or a cache line of poison could be written over a result later

    def start(self, slot: int, count: int) -> None:
        """See Link."""
        self._quiet = False
        self._launch(slot, count + EXTRA)

    def finish(self, slot: int, count: int) -> NDArray[np.int64]:
        """See Link. Images whose results look as if poison were left in them get the same ones over another poison."""
        outputs = self._witness.require(self._results(slot, count + EXTRA))
        doubtful = np.flatnonzero(self._witness.doubtful(outputs).any(axis=1))
        if doubtful.size:
            again = self._again(slot, doubtful)
            differing = int((outputs[doubtful] != again).sum())
            if differing:
                raise DeviceError(
                    f"{differing} of {outputs.size} results were never written, or only in part, or the same images "
                    "got other results the second time: none can be trusted."
                )
        return outputs

    def _again(self, slot: int, doubtful: NDArray[np.int64]) -> NDArray[np.int64]:
        """Run some of the images that are still in buffer `slot` once more over the other poison."""
        images = np.asarray(self._inputs[slot]).reshape(-1)
        images = images[: len(images) // self._bytes_in * self._bytes_in].reshape(-1, self._bytes_in)[doubtful]
        self._fill(slot, images.reshape(-1), len(doubtful), self._witness.poisons[1])
        self.start(slot, len(doubtful))
        return self._witness.require(self._results(slot, len(doubtful) + EXTRA))

    def _results(self, slot: int, total: int) -> NDArray[np.int64]:
        """Wait for a transfer; return its (total, K) results."""
        self._wait(total)
        self._quiet = True
        buffer = self._outputs[slot][: total * self._bytes_out]
        with device_errors("making results visible to the CPU"):
            buffer.invalidate()
        return signed(np.asarray(buffer).reshape(-1, self._result_bytes)).reshape(total, -1)

    def _poll(self, done: Callable[[], bool], total: int, describe: Callable[[], str]) -> None:
        """Wait for the end of a transfer of `total` images."""
        wait_until(
            done,
            timeout_s=self._timeout_s,
            report=lambda: f"{total - EXTRA} images in flight, {describe()}",
            progress=self._progress,
        )

    def check(self) -> None:
        """See Link."""
        with device_errors("asking pynq what is loaded"):
            loaded = self._overlay.is_loaded()
        if not loaded:
            raise DeviceError(
                "another design was loaded on this board meanwhile, by another accelerator or overlay of this program. "
                "Close one of them; this one loads its own design again at the next call."
            )

    def reset(self) -> None:
        """See Link."""
        self._overlay = self._load()
        self._connect(self._overlay)

    def close(self) -> None:
        """See Link. Raises nothing. Memory that a DMA may still write to is never given back."""
        if not self._quiet:
            with contextlib.suppress(CxrflowError):
                self._load()
        if not self._quiet:
            _STILL_WRITTEN.extend(self._buffers)
            self._buffers.clear()
        while self._buffers:
            with contextlib.suppress(CxrflowError), device_errors("freeing a buffer"):
                self._buffers.pop().freebuffer()


_END_PROGRAM = "It cannot be stopped from here: end this program, and restart the board if it happens again."


def signed(raw: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return (N,) integers from (N, bytes) little-endian two's complement, 1 to 4 bytes."""
    size = raw.shape[1]
    if size in (1, 2, 4):
        return raw.view(f"<i{size}")[:, 0].astype(np.int64)
    value = np.zeros(len(raw), dtype=np.int64)
    for i in range(size):
        value |= raw[:, i].astype(np.int64) << (8 * i)
    return np.asarray(np.where(value >> (8 * size - 1), value - (1 << 8 * size), value))


@contextlib.contextmanager
def device_errors(doing: str) -> Iterator[None]:
    """Turn whatever pynq and the kernel raise about a device into DeviceError; pynq raises many kinds."""
    try:
        yield
    except CxrflowError:
        raise
    except Exception as err:
        raise DeviceError(_failed(doing, err)) from err


def _failed(doing: str, err: Exception) -> str:
    return f"{doing} failed: {err or type(err).__name__}. Restart the board if this repeats."


def wait_until(
    done: Callable[[], bool],
    *,
    timeout_s: float,
    report: Callable[[], str],
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Poll until `done`. Raises DeviceTimeoutError with what `report` says, `timeout_s` after the last `progress`."""
    deadline = time.monotonic() + timeout_s
    seen = progress()
    while not done():
        if time.monotonic() > deadline:
            now = progress()
            if now == seen:
                raise DeviceTimeoutError(f"no answer after {timeout_s:g} s: {report()}")
            seen, deadline = now, time.monotonic() + timeout_s


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
