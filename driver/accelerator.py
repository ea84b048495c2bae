"""The driver: images in, integers, probabilities and classes out, with one interface for every device."""

import contextlib
import io
import numbers
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.decision import (
    MEANING,
    Choice,
    Decision,
    Head,
    golden_answers,
    logits_of,
    meaning,
    require_point,
)
from contract.errors import (
    ArtifactError,
    ConfigError,
    CxrflowError,
    DataError,
    DeviceError,
    ImageError,
    MismatchError,
)
from contract.likeness import FILE, Likeness, load_likeness
from contract.manifest import Manifest
from contract.network import ADVICE
from contract.npz import load_npz
from contract.preprocess import load_pixels
from contract.processors import processors_of
from contract.quantizer import expected_shape, same_order
from contract.table import join_names
from contract.values import PIXELS
from driver.axi_dma import AxiDmaLink
from driver.finn_iodma import FinnIodmaLink
from driver.link import BITSTREAM, DESIGN, SLOTS, CpuLink, Link, TwiceLink, device_errors
from driver.package import Package, open_package
from driver.reference import Reference
from driver.witness import find_witness

if TYPE_CHECKING:
    from driver.simulated.verilated import VerilatedCore

DEVICES = ("auto", "board", "sim", "cpu")
CAPACITY = 1024  # images per transfer, unless the caller says otherwise
TIMEOUT_S = 10.0
LONGEST_TIMEOUT_S = 86400.0
DEVICE_TREE = Path("/proc/device-tree/compatible")  # the kernel's own word on which chip it runs

_HOLDERS: "weakref.WeakValueDictionary[int, Accelerator]" = weakref.WeakValueDictionary()  # by the id of the runtime
_CHANGING_HANDS = threading.Lock()

T = TypeVar("T")
File = str | Path | bytes | BinaryIO
Images = NDArray[Any] | Sequence[File]  # what the network reads, or files of uint8 pixels


@dataclass(frozen=True)
class Answers:
    """What the accelerator says about M of the images it was given."""

    index: NDArray[np.int64]  # (M,) positions in what was given
    outputs: NDArray[np.int64]  # (M, K) the device's integers
    decision: Decision | Choice | None  # what they mean; None: the integers are all there is
    failures: dict[int, str] = field(default_factory=dict)  # position -> why that file has no answer
    head: Head | None = None  # of an imported network: what its integers stand for
    class_names: Sequence[str] = ()  # what people call each class
    # (M,) how many times its limit the worst measure of each is: above 1 it is unlike the training images. None: the
    # folder says nothing of those.
    unlikeness: NDArray[np.float64] | None = None
    point: str | None = None  # name of the operating point that was asked for; None: the folder's own

    @property
    def results(self) -> NDArray[np.float64]:
        """What an imported network's file itself gives, (M, K). Raises ConfigError for others."""
        if self.head is None:
            raise ConfigError("accelerator.json has no head: this network was not imported. Use `outputs` or `logits`.")
        return self.head.results(self.outputs)

    @property
    def logits(self) -> NDArray[np.int64]:
        """The (M,) logits. Raises ConfigError, as all below, where there are more integers than one per image."""
        return logits_of(self.outputs)

    @property
    def probability(self) -> NDArray[np.float64]:
        """Of class 1, (M,)."""
        logits, decision = self.logits, self._decision()
        assert isinstance(decision, Decision)  # of one logit
        return decision.probability(logits)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Of each of C classes, (M, C). Raises ConfigError where nobody calibrated any: of imported networks, too."""
        decision = self._decision()
        if isinstance(decision, Choice):
            return decision.probabilities(self.outputs)
        return np.stack([1 - self.probability, self.probability], axis=1)

    @property
    def classes(self) -> NDArray[np.int64]:
        """At the operating point, (M,), 0 or 1; of K outputs the number of the class, the first of equals."""
        if self.head is not None:
            return self.head.classes(self.outputs)
        decision = self._decision()
        return decision.classes(self.outputs if isinstance(decision, Choice) else self.logits, self.point)

    @property
    def names(self) -> list[str]:
        """What people call the (M,) `classes`."""
        return [self.class_names[label] for label in self.classes]

    def _decision(self) -> Decision | Choice:
        if self.decision is None:
            raise ConfigError(
                "accelerator.json has no decision: there is no probability or class of its integers. Use `outputs`"
                f"{'' if self.head is None else ' and `results`, which are what the imported file gives'}."
            )
        return self.decision


class Accelerator:
    """A deploy folder on a device. A context manager; `close` frees the device's buffers.

    Threads: any may call; calls queue, one at a time is on the device, and each gets the answers to its own images.
    `close` ends a call that is under way after the transfer it is in; that call and those in the queue raise.

    Processes: one at a time per board. A second one is refused when it opens, and after a fork only the process that
    opened the accelerator can use or close it. Within a process, opening another accelerator on a board closes the one
    before, which says so when it is used.

    The folder may be replaced meanwhile: bitstream, reference and golden images are those that were there at opening,
    also when the device is reset after a fault. Only a simulator has to be started again from the disk, and is refused
    if it is another one by then.

    What is promised about answers on a board or a simulator: they are this network's, if the device computes as it did
    on the golden images, and each belongs to its image: driver/witness.py says which faults of a transfer are found.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str = "auto",
        *,
        capacity: int = CAPACITY,
        timeout_s: float = TIMEOUT_S,
        twice: bool = False,
        runtime: Any = None,
    ) -> None:
        """Verify the folder and open the device. The golden vectors are checked before the first answer.

        Args:
            folder: a deploy folder.
            device: "board", "sim" (the RTL in Verilator behind a simulated DMA), "cpu" (the integer reference), or
                "auto": the board where there is one, else the CPU.
            capacity: images per transfer.
            timeout_s: how long one transfer may take [s].
            twice: let each image through the device twice, and answer only where both logits are the same. For twice
                the time, this finds what driver/witness.py says is not found without. A network that gives noise and
                golden images one result all is asked twice in any case: no witness would show a shift.
            runtime: stands for the pynq module; for tests.

        Raises:
            ArtifactError: the folder is not whole.
            ConfigError: the device is not there or in use, or the folder was made for another board.
            DeviceError: the device does not answer as it should.
        """
        if device not in DEVICES:
            raise ConfigError(f"device is {device!r}, expected one of {', '.join(DEVICES)}.")
        if not (
            _is(capacity, numbers.Integral) and capacity >= 1
            and _is(timeout_s, numbers.Real) and 0 < timeout_s <= LONGEST_TIMEOUT_S
        ):  # fmt: skip
            raise ConfigError(
                f"capacity is {capacity!r:.40} and timeout_s {timeout_s!r:.40}, expected 1 or more images, a whole "
                f"number, and more than 0 to {LONGEST_TIMEOUT_S:g} s."
            )
        if not isinstance(folder, (str, Path)):
            raise ConfigError(f"folder is {_kind(folder)}, expected the path of a deploy folder.")
        capacity, timeout_s = int(capacity), float(timeout_s)
        self._package = open_package(Path(folder))
        self.manifest: Manifest = self._package.manifest
        self.device = _choose(self._package) if device == "auto" else device
        self._golden = _golden(self._package)
        self._likeness = _likeness(self._package)
        self._verified = self._needs_reset = False
        self._process = os.getpid()
        self._turn = threading.RLock()
        self._in_turn = False
        self._closed: str | None = None  # why
        self._cleanup = contextlib.ExitStack()
        with self._turn:  # nobody may close what is half open
            self._open(runtime, capacity, timeout_s, twice=twice)

    def _open(self, runtime: Any, capacity: int, timeout_s: float, *, twice: bool) -> None:
        try:
            if self.device == "board":
                runtime = runtime or _pynq(self._package)
                self._take_board(runtime)
            self.link, self._simulator = _open_link(
                self._package, self.device, runtime, self._cleanup, self._golden[0], capacity, timeout_s, twice=twice
            )
        except BaseException:
            self._cleanup.close()
            raise

    def _take_board(self, runtime: Any) -> None:
        """Close the accelerator of this process that has the board; lock out other processes. Raises ConfigError."""
        with _CHANGING_HANDS:
            before = _HOLDERS.get(id(runtime))  # it keeps its runtime alive, so no other one can have this id
            _HOLDERS[id(runtime)] = self
        if before is not None:
            before._close("closed: another one was opened on its board, which holds one design at a time")
        if getattr(runtime, "__name__", None) == "pynq":
            self._cleanup.enter_context(only_process_on_the_board())

    def infer(self, images: Images, *, point: str | None = None, measured: bool = True) -> Answers:
        """Answer for images: a uint8 array (N, height, width), or files. Streams any number through fixed buffers.

        A file that is no usable image is reported in `failures`; the others are answered.

        Args:
            images: what to answer for.
            point: name of the operating point, of `contract.decision.point_names`; None: the folder's own.
            measured: whether it is measured how unlike the training images they are.

        Raises:
            DataError: the array has another shape or type.
            MismatchError: the device does not reproduce the golden logits.
            DeviceError: a transfer failed; the device was reset and the next call works.
            ToolError: the simulator ended; the next call starts it again.
            ConfigError: there is no such operating point; the accelerator is closed, or belongs to another process.
        """
        require_point(self.manifest.decision, point)
        return self._in_its_turn(lambda: self._infer(images, point, self._likeness if measured else None))

    def unlikeness(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        """Return what `Answers.unlikeness` is of (M, height, width) pixels."""
        return None if self._likeness is None else self._likeness.unlikeness(pixels)

    def _infer(self, images: Images, point: str | None, likeness: Likeness | None) -> Answers:
        self._prepare()
        failures: dict[int, str] = {}
        index: list[int] = []
        times: list[float] = []
        outputs = self._stream(self._batches(images, index, failures, times, likeness))
        manifest = self.manifest
        return Answers(
            np.array(index, dtype=np.int64),
            outputs,
            manifest.decision,
            failures,
            manifest.head,
            manifest.classes,
            None if likeness is None else np.array(times, dtype=np.float64),
            point,
        )

    def prepare(self) -> None:
        """Do what the first answer would wait for: reset the device after a fault, and verify it unless that is done.

        Raises:
            MismatchError, DeviceError, ToolError, ConfigError: see `infer`.
        """
        self._in_its_turn(self._prepare)

    @property
    def cycles(self) -> int | None:
        """Clock cycles simulated since the device was opened; None unless the RTL is simulated here."""
        return None if self._simulator is None else self._simulator.cycles

    def verify(self) -> int:
        """Run the golden images through the device and compare every logit; return how many there are.

        Raises:
            MismatchError: naming the first image that differs.
        """

        def verify() -> int:
            self._recover_if_needed()
            return self._verify()

        return self._in_its_turn(verify)

    def close(self) -> None:
        """Free the device's buffers and end a simulator. Once is enough, more do no harm."""
        self._close("closed")

    def _close(self, why: str) -> None:
        if os.getpid() != self._process:
            return  # of a fork: the device is the parent's
        self._closed = self._closed or why  # ends a call under way in another thread
        with self._turn:
            if not self._in_turn:  # else this thread is within a call of its own, which closes at its end
                self._cleanup.close()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied. Raises ConfigError."""
        raise ConfigError(
            "an accelerator holds a device, and cannot be sent to another process or copied. Open the folder there."
        )

    def __enter__(self) -> "Accelerator":
        """Return the accelerator itself. Raises ConfigError: it is closed, or belongs to another process."""
        self._require_open()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Free the device's buffers."""
        self.close()

    def _in_its_turn(self, call: Callable[[], T]) -> T:
        """Make a call when no other one is on the device. Raises ConfigError where this one may not be.

        No context manager of our own: Ctrl-C between its `__enter__` and the block would leave the turn taken.
        """
        self._require_open()  # before the lock: in a fork, nobody would ever release it
        with self._turn:
            self._require_open()
            if self._in_turn:
                raise ConfigError("the accelerator was called from within its own call. Let one call end first.")
            try:
                self._in_turn = True
                return call()
            finally:
                self._in_turn = False
                if self._closed:
                    self._cleanup.close()

    def _require_open(self) -> None:
        if os.getpid() != self._process:
            raise ConfigError(
                f"the accelerator was opened by process {self._process}, and process {os.getpid()} is a fork of it: "
                "both would use the same device. Open it after the fork, in one process only."
            )
        if self._closed:
            raise ConfigError(f"the accelerator is {self._closed}. Open it again.")

    def _prepare(self) -> None:
        self._recover_if_needed()
        if not self._verified:
            self._verify()

    def _recover_if_needed(self) -> None:
        if self._simulator is not None and self._simulator.ended:
            self._verified, self._needs_reset = False, True
        if self._needs_reset:
            self._reset()
            return
        try:
            self.link.check()
        except CxrflowError:
            self._verified, self._needs_reset = False, True
            raise

    def _verify(self) -> int:
        pixels, want = self._golden
        self._verified = False
        got = self._stream(_slices(pixels, self.link.capacity))
        wrong = np.argwhere(got != want)
        if len(wrong):
            n, k = (int(v) for v in wrong[0])
            which = "" if want.shape[1] == 1 else f", output {k}"
            raise MismatchError(
                f"{self.device}: {len(wrong)} of {want.size} golden logits differ; first at image {n}{which}: got "
                f"{got[n, k]}, want {want[n, k]}. Do not use this device's answers: copy the folder again, and check "
                "clock and power."
            )
        self._verified = True
        return len(want)

    def _batches(
        self,
        images: Images,
        index: list[int],
        failures: dict[int, str],
        times: list[float],
        likeness: Likeness | None,
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield arrays of up to a transfer's images; note in `index` and `failures` what became of each image.

        In `times` is noted how unlike the training images each is, where `likeness` says what these look like.
        """
        if isinstance(images, np.ndarray):
            given, images = images.shape, self._as_the_file_has_them(images)
            self._check_array(images, given)
            index.extend(range(len(images)))
            for part in _slices(images, self.link.capacity):
                yield self._integers(part, times, likeness)
            return
        if isinstance(images, (str, bytes, bytearray, os.PathLike)) or hasattr(images, "read"):
            raise DataError("images is one file, expected a list of files. Put it into a list.")
        if isinstance(images, (memoryview, Mapping, Set)) or not isinstance(images, Iterable):
            raise DataError(f"images is {_kind(images)}, expected {self._expected()}.")
        if not self.manifest.reads_pictures:
            raise DataError(
                f"this network reads {self.manifest.fed}, which image files are not converted to. Give an array."
            )
        batch: list[NDArray[np.uint8]] = []
        for position, file in enumerate(images):
            try:
                batch.append(self._load(position, file))
            except ImageError as err:
                failures[position] = str(err)
                continue
            index.append(position)
            if len(batch) == self.link.capacity:
                yield self._integers(np.stack(batch), times, likeness)
                batch = []
        if batch:
            yield self._integers(np.stack(batch), times, likeness)

    def _integers(self, fed: NDArray[Any], times: list[float], likeness: Likeness | None) -> NDArray[Any]:
        """Return what the network reads of what is fed; note in `times` how unlike the training images it is."""
        if likeness is not None:
            times += likeness.unlikeness(fed).tolist()
        return fed if self.manifest.rule is None else self.manifest.rule(fed)

    def _load(self, position: int, file: File) -> NDArray[np.uint8]:
        if isinstance(file, io.TextIOBase):
            raise DataError(f"images[{position}] is a file that was opened as text. Open it with mode 'rb'.")
        if isinstance(file, (str, os.PathLike)):
            file = Path(os.fsdecode(file))
        elif not isinstance(file, bytes) and not all(hasattr(file, name) for name in ("read", "seek", "tell")):
            raise DataError(
                f"images[{position}] is {_kind(file)}, expected a path, the content of a file (bytes) or an open file. "
                f"Of images that are arrays make {self._expected()}: numpy.stack(images)."
            )
        return load_pixels(file, height=self.manifest.height, width=self.manifest.width)

    def _expected(self) -> str:
        source = self.manifest.input
        return (
            f"one array of {np.dtype(source.values.dtype)} (N, {', '.join(map(str, source.shape))}), or a list of files"
        )

    def _as_the_file_has_them(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return inputs of the shape that an imported file reads, or flat ones, as the network reads them."""
        if self.manifest.head is None or images.ndim < 2:
            return images
        fed = self.manifest.fed
        if not same_order(images.shape[1:], fed.shape, flat=fed.flat):
            return images
        return images.reshape(len(images), *self.manifest.input.shape)

    def _check_array(self, images: NDArray[Any], given: tuple[int, ...]) -> None:
        """Stop at what the network does not read; `given` is the shape that somebody knows the array by."""
        source, rule, fed = self.manifest.input, self.manifest.rule, self.manifest.fed
        dtype = np.dtype(source.values.dtype)
        if isinstance(images, np.ma.MaskedArray):
            raise DataError("images is a masked array, expected one without a mask. Say with .filled() what is there.")
        if rule is not None and rule.fits(images) and images.shape[1:] == source.shape:
            return
        if rule is not None:
            raise DataError(
                f"images are {images.dtype}{given}, expected {rule.reads} {expected_shape(fed.shape, flat=fed.flat)}, "
                "as the file that was imported reads them."
            )
        if images.dtype != dtype:
            remedy = (
                "the accelerator reads raw gray levels 0..255 and its thresholds hold the normalisation. Do not divide "
                "by 255."
                if source.values is PIXELS
                else "the accelerator reads raw integers. Convert them."
            )
            raise DataError(f"images are {images.dtype}, expected {dtype}: {remedy}")
        if images.shape[1:] != source.shape:
            raise DataError(
                f"images have the shape {images.shape}, expected (N, {', '.join(map(str, source.shape))}), one "
                f"{'gray level per pixel' if source.channels == 1 else 'integer per pixel and channel'}. "
                "Give files, which are converted, or convert them with contract.preprocess."
            )
        if not source.values.hold(images):
            raise DataError(f"images hold {images.min()} to {images.max()}, expected {source.values} only.")

    def _stream(self, batches: Iterable[NDArray[np.uint8]]) -> NDArray[np.int64]:
        """Return the (N, K) integers of all batches; the next batch is prepared while the device computes."""
        outputs: list[NDArray[np.int64]] = []
        in_flight: tuple[int, int] | None = None  # slot, images
        known = True  # `in_flight` is all that the device is doing
        slot = 0
        try:
            for batch in batches:
                self.link.stage(slot, batch)
                if in_flight is not None:
                    known = False
                    outputs.append(self.link.finish(*in_flight))
                    in_flight, known = None, True
                self._require_open()
                known = False
                self.link.start(slot, len(batch))
                in_flight, known = (slot, len(batch)), True
                slot = (slot + 1) % SLOTS
            if in_flight is not None:
                known = False
                outputs.append(self.link.finish(*in_flight))
        except BaseException as err:
            verified = self._verified
            self._verified, self._needs_reset = False, True  # until the next lines have come to their end
            if known and not isinstance(err, DeviceError) and self._drained(in_flight):
                self._verified, self._needs_reset = verified, False
            else:
                with contextlib.suppress(CxrflowError):  # the first error says more; the next call tries again
                    self._reset()
            raise
        return np.concatenate(outputs) if outputs else np.zeros((0, self._golden[1].shape[1]), dtype=np.int64)

    def _drained(self, in_flight: tuple[int, int] | None) -> bool:
        """Let a transfer end whose results nobody wants any more; tell whether nothing is left on the device."""
        try:
            if in_flight is not None:
                self.link.finish(*in_flight)
        except CxrflowError:
            return False
        return True

    def _reset(self) -> None:
        """Reset the device, so that nothing of earlier calls can appear; it must prove itself again."""
        self.link.reset()
        self._needs_reset = False


def _is(value: object, kind: type) -> bool:
    """Tell whether a value is a number of a kind; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, (bool, np.bool_))


def _kind(value: object) -> str:
    """Name a value's type for a message."""
    return "None" if value is None else f"of type {type(value).__name__}"


def _slices(pixels: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(pixels), size):
        yield pixels[start : start + size]


def _choose(package: Package) -> str:
    """Return "board" where this machine and the folder allow it, else "cpu"."""
    return "board" if board_missing(package) is None else "cpu"


def board_missing(package: Package) -> str | None:
    """Return what keeps this folder from running on this machine's programmable logic, or None."""
    hardware = package.manifest.hardware
    if hardware is None or hardware.shell is None or package.path(BITSTREAM) is None:
        return "the folder has no bitstream. Where its run is, `cxrflow bitstream EXPERIMENT` builds and packages one"
    try:
        compatible = DEVICE_TREE.read_bytes()
    except OSError:
        return "this machine is no Zynq board. Use device='sim' or device='cpu'"
    chip = processors_of(hardware.part).compatible
    if not any(name.startswith(chip) for name in compatible.split(b"\0")):
        found = compatible.split(b"\0")[0].decode(errors="replace")
        return f"the bitstream is for {hardware.board} ({hardware.part}), this board is {found}. Package for this board"
    missing = [name for name in DESIGN if package.path(name) is None]
    if missing:
        return f"accelerator.json names no {missing[0]}, which pynq reads beside the bitstream. Package the run again"
    try:
        import pynq  # noqa: F401
    except ImportError:
        return "Python finds no pynq. Use the board's PYNQ environment: source /etc/profile.d/pynq_venv.sh"
    return None


def _golden(package: Package) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the golden images and their (N, K) integers. Raises ArtifactError."""
    path, source, outputs = package.folder / "golden.npz", package.manifest.input, package.manifest.outputs
    golden = load_npz(path, advice=ADVICE)
    package.prove(path.name)
    pixels, want = golden.get("pixels"), golden.get("outputs")
    if (
        pixels is None
        or want is None
        or not source.fits(pixels)
        or not len(pixels)  # what is compared with nothing is not proven
        or want.dtype != np.int64
        or want.shape != (len(pixels), outputs)
    ):
        raise ArtifactError(
            f"{path} holds no golden images that fit: accelerator.json says {source} with {outputs} integers each. "
            "Package the run again."
        )
    _require_meaning(package, golden, want)  # type: ignore[arg-type]
    return pixels, want  # type: ignore[return-value]


def _require_meaning(package: Package, golden: Mapping[str, NDArray[Any]], outputs: NDArray[np.int64]) -> None:
    """Raise ArtifactError unless accelerator.json makes of the golden integers what the export made of them.

    Classes are exact; probabilities are float64, which may differ in the last bits between processors. Arrays that
    golden.npz has not, those of an imported network or an older folder, are not compared.
    """
    decision = package.manifest.decision
    if decision is None:
        return
    probability, classes = golden_answers(decision, outputs)
    _require_same(package, "golden.npz", golden, "probability", probability, rtol=1e-9)
    _require_same(package, "golden.npz", golden, "classes", classes)
    path = package.path(MEANING)
    if path is None or not isinstance(decision, Choice):
        return
    saved, said = load_npz(path), meaning(decision, package.manifest.class_names, outputs)
    package.prove(MEANING)
    if "names" in saved and not np.array_equal(saved["names"], said["names"]):
        names = join_names(package.manifest.class_names)[:200]
        points = ", ".join(decision.operating_points)[:200] or "-"
        raise ArtifactError(
            f"{package.folder}: accelerator.json calls the classes {names}, with operating points {points}, and "
            f"{MEANING} has other names or another order. {_CHANGED}"
        )
    _require_same(package, MEANING, saved, "classes_at", said["classes_at"])


_CHANGED = "The file was changed or is of another run: copy the whole folder again, or package the run again."


def _require_same(
    package: Package, file: str, arrays: Mapping[str, NDArray[Any]], name: str, got: NDArray[Any], *, rtol: float = 0.0
) -> None:
    """Raise ArtifactError unless an array that a file may have is what accelerator.json says of the golden images."""
    want = arrays.get(name)
    if want is None:
        return
    if want.dtype != got.dtype or want.shape != got.shape:
        raise ArtifactError(
            f"{package.folder / file} has {name} of {want.dtype} of shape {want.shape}, expected "
            f"{got.dtype} of shape {got.shape}. Package the run again."
        )
    # Relative, since saturated probabilities would hide everything; numbers below the smallest normal one are 0.
    differing = ~np.isclose(got, want, rtol=rtol, atol=1e-300 if rtol else 0.0)
    if differing.any():
        n = int(np.argwhere(differing)[0][0])
        raise ArtifactError(
            f"{package.folder}: the decision in accelerator.json contradicts {file}: for the golden image {n} "
            f"it gives {name} {got[n].tolist()}, expected {want[n].tolist()}. {_CHANGED}"
        )


def _likeness(package: Package) -> Likeness | None:
    """Return what the training images look like, where the folder says so. Raises ArtifactError."""
    path, manifest = package.path(FILE), package.manifest
    if path is None or not manifest.reads_pictures:
        return None
    likeness = load_likeness(path, height=manifest.height, width=manifest.width)
    package.prove(FILE)
    return likeness


def _reference(package: Package) -> Reference:
    """Return the CPU reference. Raises ArtifactError."""
    path = package.folder / "reference.npz"
    reference = Reference.load(path)
    package.prove(path.name)
    network, manifest = reference.network, package.manifest
    if (network.input, network.output_size) != (manifest.input, manifest.outputs):
        raise ArtifactError(
            f"{package.folder}: reference.npz takes {network.input} and gives {network.output_size} integers, "
            f"accelerator.json says {manifest.input} and {manifest.outputs}. Package the run again."
        )
    return reference


def _open_link(
    package: Package,
    device: str,
    runtime: Any,
    cleanup: contextlib.ExitStack,
    golden: NDArray[Any],
    capacity: int,
    timeout_s: float,
    *,
    twice: bool,
) -> tuple[Link, "VerilatedCore | None"]:
    """Open the device; what must be closed with it goes to `cleanup`. Raises ConfigError if it is not there."""
    reference = _reference(package)
    if device == "cpu":
        cpu = CpuLink(reference)
        return (TwiceLink(cpu) if twice else cpu), None
    hardware = package.manifest.hardware
    if hardware is None:
        raise ConfigError(
            f"{package.folder} was packaged without hardware: this network has no verified RTL. Use device='cpu'."
        )
    simulator: VerilatedCore | None = None
    if device == "sim" and runtime is None:
        from driver.simulated.runtime import open_simulated

        runtime, hardware, simulator = open_simulated(package, hardware)
        cleanup.callback(simulator.close)
    sink = hardware.output
    witness = find_witness(
        reference, golden, lanes=hardware.input.folded_shape[1], result_bytes=sink.packed_bytes // sink.shape[0]
    )
    twice = twice or not witness.shifts_show
    shells = {"axi_dma": AxiDmaLink, "finn_iodma": FinnIodmaLink}
    if hardware.shell is None:
        raise ConfigError(f"the manifest names no shell, expected {' or '.join(shells)}. Package the run again.")
    link = shells[hardware.shell](
        runtime,
        {name: package.read(name) for name in DESIGN if package.path(name) is not None},
        hardware,
        witness,
        capacity=2 * capacity if twice else capacity,
        timeout_s=timeout_s,
        progress=None if simulator is None else simulator.progress,
    )
    cleanup.callback(link.close)
    if twice and link.capacity < 2:
        raise ConfigError("a transfer holds one image of this network, so none can go through twice in it.")
    return (TwiceLink(link) if twice else link), simulator


def _pynq(package: Package) -> Any:
    """Return the pynq module, its board found. That happens here because pynq wants an event loop in that thread.

    Raises:
        ConfigError: the folder cannot run here.
        DeviceError: pynq finds no board.
    """
    why = board_missing(package)
    if why is not None:
        raise ConfigError(f"no board to run on: {why}.")
    import pynq

    with device_errors("looking for the board"):
        pynq.Device.active_device  # noqa: B018 # a property that probes
    return pynq


@contextlib.contextmanager
def only_process_on_the_board() -> Iterator[None]:
    """Lock the board for this process. Raises ConfigError if another one has it.

    The lock is on a file of the kernel, so there is nothing to be left behind, and it ends with the process.
    """
    import fcntl

    with DEVICE_TREE.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "the board is in use by another program, and holds one design at a time. End that program first; "
                "`lslocks` shows its process."
            ) from None
        yield
        # A fork holds the same lock as long as it lives, unless it is given back.
        fcntl.flock(held, fcntl.LOCK_UN)
