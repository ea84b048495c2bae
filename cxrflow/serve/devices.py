"""The runs that are served and the devices they run on: each device opened once, one request at a time on it."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeVar

import anyio
import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from contract.decision import Decision
from contract.errors import ArtifactError, ConfigError, CxrflowError
from contract.golden import load_golden
from contract.manifest import Manifest
from cxrflow.serve.limits import Refusal
from driver.accelerator import DEVICES, Accelerator, board_missing
from driver.package import Package, open_package
from driver.simulated.runtime import PROGRAM

T = TypeVar("T")
EXAMPLES = 6  # of the golden images of each run
MOST_OUTPUTS = 1000  # that the page shows


@dataclass(frozen=True)
class Served:
    """One deploy folder."""

    name: str
    manifest: Manifest
    folder: Path
    devices: tuple[str, ...]  # that can run it here, the preferred one first
    examples: NDArray[np.uint8]  # (N, H, W)


def find_deploys(paths: Sequence[Path], runs: Path) -> list[Path]:
    """Return the deploy folders that run names, run folders or deploy folders mean; all of `runs` where none is given.

    Raises:
        ConfigError: a path is none of them, or holds no deploy folder.
    """
    if not paths:
        found = sorted(path.parent for path in runs.glob("*/deploy/*/accelerator.json"))
        if not found:
            raise ConfigError(f"{runs} holds no deploy folder, expected at least one. Run `cxrflow run` first.")
        return found
    deploys: list[Path] = []
    for path in paths:
        folder = runs / path if len(path.parts) == 1 and not path.is_dir() else path
        if (folder / "accelerator.json").is_file():
            deploys.append(folder)
            continue
        inside = sorted(manifest.parent for manifest in folder.glob("deploy/*/accelerator.json"))
        if not inside:
            raise ConfigError(f"{folder} is no run or deploy folder, expected one. Run `cxrflow package` first.")
        deploys += inside
    return deploys


class NotServedError(ConfigError):
    """The page cannot show what a network says."""


class Fleet:
    """All runs and devices. Its methods may be called from any thread; `ask` queues."""

    def __init__(
        self, folders: Sequence[Path], devices: Sequence[str], *, left_out: Callable[[str], None] | None = None
    ) -> None:
        """Look at the folders; no device is opened yet.

        Args:
            folders: deploy folders.
            devices: those to offer; empty for all that this machine has.
            left_out: told of a folder that the page cannot show, which is left out then as long as there are others.

        Raises:
            ArtifactError: a folder is not whole.
            ConfigError: a device is unknown, or cannot run any of the folders.
        """
        unknown = [device for device in devices if device not in DEVICES]
        if unknown:
            raise ConfigError(f"device is {unknown[0]!r}, expected one of {', '.join(DEVICES)}.")
        self.runs: dict[str, Served] = {}
        for i, folder in enumerate(folders):
            try:
                served = _serve(open_package(folder), devices, taken=self.runs.keys())
            except NotServedError as err:
                if left_out is None or (i == len(folders) - 1 and not self.runs):
                    raise
                left_out(str(err))
                continue
            self.runs[served.name] = served
        self._open: dict[str, tuple[str, Accelerator]] = {}
        self._closed = False
        kinds = {kind for run in self.runs.values() for kind in run.devices}
        self._queues = {kind: anyio.CapacityLimiter(1) for kind in kinds}
        self._locks = {kind: Lock() for kind in kinds}

    def choose(self, run: str | None, device: str | None) -> tuple[Served, str]:
        """Return the run and the device that a request means; the first ones where it does not say. Raises Refusal."""
        served = next(iter(self.runs.values())) if run is None else self.runs.get(run)
        if served is None:
            raise Refusal(404, "unknown-run", "There is no such run on this server. Ask /api/runs for their names.")
        kind = served.devices[0] if device is None else device
        if kind not in served.devices:
            raise Refusal(404, "unknown-device", "This run is not on that device here. Ask /api/runs for its devices.")
        return served, kind

    async def ask(self, served: Served, device: str, work: Callable[[Accelerator], T]) -> tuple[T, float]:
        """Run `work` on a device when its turn comes; return what it gives and how long it took [s]. Raises Refusal."""
        return await anyio.to_thread.run_sync(self._work, served, device, work, limiter=self._queues[device])

    def prepare(self, served: Served, device: str) -> None:
        """Open and verify a device. Raises CxrflowError."""
        with self._locks[device]:
            self._accelerator(served, device).prepare()

    def close(self) -> None:
        """Close all devices; a request that is on one is ended and refused, as are all after it."""
        self._closed = True
        for device, lock in self._locks.items():
            _, accelerator = self._open.get(device, ("", None))
            if accelerator is not None:
                accelerator.close()  # without the lock, which a request may hold for long
            with lock:  # and now nobody is opening another one
                self._drop(device)

    def _work(self, served: Served, device: str, work: Callable[[Accelerator], T]) -> tuple[T, float]:
        try:
            with self._locks[device]:
                accelerator = self._accelerator(served, device)
                accelerator.prepare()
                start = time.perf_counter()
                return work(accelerator), time.perf_counter() - start
        except ArtifactError as err:
            with self._locks[device]:
                self._drop(device)  # so that the next request sees what is there by now
            raise Refusal(503, "device", f"The device {device} does not answer: {err}") from err
        except CxrflowError as err:
            raise Refusal(503, "device", f"The device {device} does not answer: {err}") from err

    def _accelerator(self, served: Served, device: str) -> Accelerator:
        """Return the open accelerator. Only one is open per device: a board holds one bitstream."""
        if self._closed:
            raise ConfigError("the server is ending. Start it again.")
        name, accelerator = self._open.get(device, ("", None))
        if accelerator is not None and name == served.name:
            return accelerator
        self._drop(device)
        opened = Accelerator(served.folder, device)
        if opened.manifest != served.manifest:  # whose thresholds and classes go with the answers
            opened.close()
            raise ArtifactError(f"{served.name} was packaged again since the server started. Start the server again.")
        self._open[device] = served.name, opened
        return opened

    def _drop(self, device: str) -> None:
        """Close what is open on a device. Its lock is held."""
        _, accelerator = self._open.pop(device, ("", None))
        if accelerator is not None:
            accelerator.close()


def _serve(package: Package, devices: Sequence[str], *, taken: object) -> Served:
    """Describe one deploy folder. Raises ConfigError where none of `devices` can run it."""
    manifest = package.manifest
    _require_answers(package.folder, manifest)
    here = {
        "board": board_missing(package) is None,
        "cpu": True,
        "sim": manifest.hardware is not None and package.path(PROGRAM) is not None and platform.machine() == "x86_64",
    }
    offered = tuple(kind for kind, there in here.items() if there and (not devices or kind in devices))
    if "auto" in devices:
        offered = (*offered, *(kind for kind in ("board" if here["board"] else "cpu",) if kind not in offered))
    if not offered:
        raise ConfigError(
            f"{package.folder} cannot run on {', '.join(devices)} here; this machine has "
            f"{', '.join(kind for kind, there in here.items() if there)} for it. Choose one of these with --device."
        )
    name = manifest.name
    number = 2
    while name in taken:  # type: ignore[operator]
        name, number = f"{manifest.name} ({number})", number + 1
    return Served(name, manifest, package.folder, offered, _examples(package))


def _require_answers(folder: Path, manifest: Manifest) -> None:
    """Stop unless the page can show what this network says. Raises NotServedError."""
    use = "Use the driver: `Accelerator(...).infer(...).outputs`."
    if not manifest.classes:
        raise NotServedError(
            f"{folder} gives {manifest.outputs} integers per image and no decision: the page shows classes. {use}"
        )
    if manifest.outputs > MOST_OUTPUTS:
        raise NotServedError(
            f"{folder} gives {manifest.outputs} integers per image; the page shows {MOST_OUTPUTS}. {use}"
        )


def _examples(package: Package) -> NDArray[np.uint8]:
    """Return golden images from the lowest logit to the highest, or of one class after the other; only of pictures."""
    manifest, golden = package.manifest, load_golden(package.folder / "golden.npz")
    if manifest.rule is not None or not manifest.reads_pictures:
        return golden.pixels[:0]  # these are the network's integers, and not the pictures that they were made of
    if isinstance(manifest.decision, Decision):
        order = np.argsort(golden.logits, kind="stable")
    else:
        answers = manifest.head if manifest.decision is None else manifest.decision
        assert answers is not None
        order = np.argsort(answers.classes(golden.outputs), kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(EXAMPLES, len(order))).astype(np.int64)]
    return golden.pixels[chosen]
