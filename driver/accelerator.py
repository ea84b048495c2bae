"""The driver: images in, integer logits, probabilities and classes out, with one interface for every device."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from contract.errors import ArtifactError, ConfigError, DataError, DeviceError, ImageError, MismatchError
from contract.manifest import Hardware, Manifest
from contract.npz import load_npz
from contract.preprocess import load_pixels
from driver.axi_dma import AxiDmaLink
from driver.finn_iodma import FinnIodmaLink
from driver.link import SLOTS, CpuLink, Link
from driver.package import Package, open_package
from driver.reference import Reference

if TYPE_CHECKING:
    from driver.simulated.device import SimulatedDevice

DEVICES = ("auto", "board", "sim", "cpu")
CAPACITY = 1024  # images per transfer, unless the caller says otherwise
TIMEOUT_S = 10.0
DEVICE_TREE = Path("/proc/device-tree/compatible")  # the kernel's own word on which chip it runs
CHIP_OF_PART = {"xc7z": b"xlnx,zynq-7000", "xczu": b"xlnx,zynqmp", "xck2": b"xlnx,zynqmp"}

File = str | Path | bytes | BinaryIO
Images = NDArray[np.uint8] | Sequence[File]


@dataclass(frozen=True)
class Answers:
    """What the accelerator says about M of the images it was given."""

    index: NDArray[np.int64]  # (M,) positions in what was given
    logits: NDArray[np.int64]  # (M,) the device's integers
    probability: NDArray[np.float64]  # (M,) of class 1
    classes: NDArray[np.int64]  # (M,) 0 or 1, at the operating point
    failures: dict[int, str] = field(default_factory=dict)  # position -> why that file has no answer


class Accelerator:
    """A deploy folder on a device. A context manager; `close` frees the device's buffers."""

    def __init__(
        self,
        folder: str | Path,
        device: str = "auto",
        *,
        capacity: int = CAPACITY,
        timeout_s: float = TIMEOUT_S,
        runtime: Any = None,
    ) -> None:
        """Verify the folder and open the device. The golden vectors are checked before the first answer.

        Args:
            folder: a deploy folder.
            device: "board", "sim" (the RTL in Verilator behind a simulated DMA), "cpu" (the integer reference), or
                "auto": the board where there is one, else the CPU.
            capacity: images per transfer.
            timeout_s: how long one transfer may take [s].
            runtime: stands for the pynq module; for tests.

        Raises:
            ArtifactError: the folder is not whole.
            ConfigError: the device is not there, or the folder was made for another board.
            DeviceError: the device does not answer as it should.
        """
        if device not in DEVICES:
            raise ConfigError(f"device is {device!r}, expected one of {', '.join(DEVICES)}.")
        if capacity < 1 or not timeout_s > 0:
            raise ConfigError(f"capacity is {capacity} and timeout_s {timeout_s}, both must be more than 0.")
        self._package = open_package(Path(folder))
        self.manifest: Manifest = self._package.manifest
        self.device = _choose(self._package) if device == "auto" else device
        self._verified = self._needs_reset = False
        self._cleanup = contextlib.ExitStack()
        try:
            self.link, self._simulated = _open_link(
                self._package, self.device, runtime, self._cleanup, capacity=capacity, timeout_s=timeout_s
            )
        except BaseException:
            self._cleanup.close()
            raise
        self._cleanup.callback(self.link.close)

    def infer(self, images: Images) -> Answers:
        """Answer for images: a uint8 array (N, height, width), or files. Streams any number through fixed buffers.

        A file that is no usable image is reported in `failures`; the others are answered.

        Raises:
            DataError: the array has another shape or type.
            MismatchError: the device does not reproduce the golden logits.
            DeviceError: a transfer failed; the device was reset and the next call works.
        """
        self.prepare()
        failures: dict[int, str] = {}
        index: list[int] = []
        logits = self._stream(self._batches(images, index, failures))
        return self._answers(np.array(index, dtype=np.int64), logits, failures)

    def prepare(self) -> None:
        """Do what the first answer would wait for: reset the device after a fault, and verify it unless that is done.

        Raises:
            MismatchError, DeviceError: the device cannot be trusted.
        """
        if self._needs_reset:
            self._reset()
        if not self._verified:
            self.verify()

    @property
    def cycles(self) -> int | None:
        """Clock cycles simulated since the device was opened; None unless the RTL is simulated here."""
        return None if self._simulated is None else getattr(self._simulated.core, "cycles", None)

    def verify(self) -> int:
        """Run the golden images through the device and compare every logit; return how many there are.

        Raises:
            MismatchError: naming the first image that differs.
        """
        golden = load_npz(self._package.folder / "golden.npz")
        pixels, want = golden.get("pixels"), golden.get("logits")
        shape = (self.manifest.height, self.manifest.width)
        if pixels is None or want is None or pixels.dtype != np.uint8 or pixels.shape != (len(want), *shape):
            raise ArtifactError(f"{self._package.folder / 'golden.npz'} holds no golden images. Package the run again.")
        got = self._stream(_slices(pixels, self.link.capacity))  # type: ignore[arg-type]
        wrong = np.flatnonzero(got != want)
        if wrong.size:
            n = wrong[0]
            raise MismatchError(
                f"{self.device}: {wrong.size} of {want.size} golden logits differ; first at image {n}: got {got[n]}, "
                f"want {want[n]}. Do not use this device's answers: copy the folder again, and check clock and power."
            )
        self._verified = True
        return int(want.size)

    def close(self) -> None:
        """Free the device's buffers and end a simulator."""
        self._cleanup.close()

    def __enter__(self) -> "Accelerator":
        """Return the accelerator itself."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Free the device's buffers."""
        self.close()

    def _batches(self, images: Images, index: list[int], failures: dict[int, str]) -> Iterator[NDArray[np.uint8]]:
        """Yield arrays of up to a transfer's images; note in `index` and `failures` what became of each image."""
        if isinstance(images, np.ndarray):
            self._check_array(images)
            index.extend(range(len(images)))
            yield from _slices(images, self.link.capacity)
            return
        if isinstance(images, (str, bytes, Path)):
            raise DataError("images is one file, expected a list of files. Put it into a list.")
        batch: list[NDArray[np.uint8]] = []
        for position, file in enumerate(images):
            try:
                batch.append(self._load(file))
            except ImageError as err:
                failures[position] = str(err)
                continue
            index.append(position)
            if len(batch) == self.link.capacity:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)

    def _load(self, file: File) -> NDArray[np.uint8]:
        source = Path(file) if isinstance(file, str) else file
        return load_pixels(source, height=self.manifest.height, width=self.manifest.width)

    def _check_array(self, images: NDArray[Any]) -> None:
        expected = (self.manifest.height, self.manifest.width)
        if images.dtype != np.uint8:
            raise DataError(
                f"images are {images.dtype}, expected uint8: the accelerator reads raw gray levels 0..255 and its "
                "thresholds hold the normalisation. Do not divide by 255."
            )
        if images.ndim != 3 or images.shape[1:] != expected:
            raise DataError(
                f"images have the shape {images.shape}, expected (N, {expected[0]}, {expected[1]}), one gray level per "
                "pixel. Give files, which are converted, or convert them with contract.preprocess."
            )

    def _stream(self, batches: Iterable[NDArray[np.uint8]]) -> NDArray[np.int64]:
        """Return the logits of all batches; the next batch is prepared while the device computes."""
        logits: list[NDArray[np.int64]] = []
        in_flight: tuple[int, int] | None = None  # slot, images
        slot = 0
        try:
            for batch in batches:
                self.link.stage(slot, batch)
                if in_flight is not None:
                    done, in_flight = in_flight, None
                    logits.append(self.link.finish(*done))
                self.link.start(slot, len(batch))
                in_flight = (slot, len(batch))
                slot = (slot + 1) % SLOTS
            if in_flight is not None:
                logits.append(self.link.finish(*in_flight))
        except DeviceError:
            self._recover()
            raise
        except BaseException:
            if in_flight is not None:
                self._recover()
            raise
        return np.concatenate(logits) if logits else np.zeros(0, dtype=np.int64)

    def _recover(self) -> None:
        """Reset the device, so that nothing of this call can appear in the next; it must prove itself again."""
        self._verified, self._needs_reset = False, True
        with contextlib.suppress(DeviceError):  # the first error says more; the next call tries again
            self._reset()

    def _reset(self) -> None:
        self.link.reset()
        self._needs_reset = False

    def _answers(self, index: NDArray[np.int64], logits: NDArray[np.int64], failures: dict[int, str]) -> Answers:
        decision = self.manifest.decision
        return Answers(index, logits, decision.probability(logits), decision.classes(logits), failures)


def _slices(pixels: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(pixels), size):
        yield pixels[start : start + size]


def _choose(package: Package) -> str:
    """Return "board" where this machine and the folder allow it, else "cpu"."""
    return "board" if board_missing(package) is None else "cpu"


def board_missing(package: Package) -> str | None:
    """Return what keeps this folder from running on this machine's programmable logic, or None."""
    hardware = package.manifest.hardware
    if hardware is None or hardware.shell is None or package.path("accelerator.bit") is None:
        return "the folder has no bitstream. Build one with `make bitstream` and package it"
    try:
        compatible = DEVICE_TREE.read_bytes()
    except OSError:
        return "this machine is no Zynq board. Use device='sim' or device='cpu'"
    chip = CHIP_OF_PART.get(hardware.part[:4])
    if chip is None or not any(name.startswith(chip) for name in compatible.split(b"\0")):
        found = compatible.split(b"\0")[0].decode(errors="replace")
        return f"the bitstream is for {hardware.board} ({hardware.part}), this board is {found}. Package for this board"
    try:
        import pynq  # noqa: F401
    except ImportError:
        return "Python finds no pynq. Use the board's PYNQ environment: source /etc/profile.d/pynq_venv.sh"
    return None


def _open_link(
    package: Package,
    device: str,
    runtime: Any,
    cleanup: contextlib.ExitStack,
    *,
    capacity: int,
    timeout_s: float,
) -> tuple[Link, "SimulatedDevice | None"]:
    """Open the device; what must be closed with it goes to `cleanup`. Raises ConfigError if it is not there."""
    if device == "cpu":
        return _cpu(package), None
    hardware = package.manifest.hardware
    if hardware is None:
        raise ConfigError(
            f"{package.folder} was packaged without hardware: this network has no verified RTL. Use device='cpu'."
        )
    if device == "board" and runtime is None:
        why = board_missing(package)
        if why is not None:
            raise ConfigError(f"no board to run on: {why}.")
        import pynq

        runtime = pynq
    simulated = None
    if device == "sim" and runtime is None:
        from driver.simulated.runtime import open_simulated

        runtime, hardware, simulated = open_simulated(package, hardware)
        cleanup.callback(simulated.close)
    return open_shell(package, hardware, runtime, capacity=capacity, timeout_s=timeout_s), simulated


def open_shell(package: Package, hardware: Hardware, runtime: Any, *, capacity: int, timeout_s: float) -> Link:
    """Open the link of the shell that `hardware` names."""
    bitstream = str(package.folder / "accelerator.bit")
    if hardware.shell == "axi_dma":
        return AxiDmaLink(runtime, bitstream, hardware, capacity=capacity, timeout_s=timeout_s)
    if hardware.shell == "finn_iodma":
        return FinnIodmaLink(runtime, bitstream, hardware, capacity=capacity, timeout_s=timeout_s)
    raise ConfigError("the manifest names no shell, expected axi_dma or finn_iodma. Package the run again.")


def _cpu(package: Package) -> CpuLink:
    reference = Reference.load(package.folder / "reference.npz")
    size = (reference.network.height, reference.network.width)
    if size != (package.manifest.height, package.manifest.width):
        raise ArtifactError(
            f"{package.folder}: reference.npz takes {size[0]} x {size[1]} pixels, accelerator.json says "
            f"{package.manifest.height} x {package.manifest.width}. Package the run again."
        )
    return CpuLink(reference)
