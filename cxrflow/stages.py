"""The work of every stage of a run, and all that decides its result.

`cxrflow/stage_table.py` has the stages; here is a function for each, which fills the new folder that it is given.
`cxrflow/runs.py` compares what decides the result with what did when the stage was made.
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.errors import ArtifactError, ConfigError, CxrflowError, DataError
from contract.files import MAX_TEXT_BYTES, hash_file, output, read_json, require_size, spare, write_whole
from contract.preprocess import PREPROCESS_VERSION
from contract.record import read_record
from contract.table import join_names
from cxrflow.code import bytes_key, code_key, function_key
from cxrflow.console import Console
from cxrflow.experiment import (
    DataConfig,
    Experiment,
    load_experiment,
    other_classes,
    read_fields,
    same_classes,
    save_experiment,
)
from cxrflow.runs import (
    amend_stage,
    git_commit,
    keep_nested,
    locked,
    matching,
    parts_of,
    read_stamp,
    replace_folder,
    require_files,
    require_layout,
    require_stage,
    run_stage,
    stale,
    writing,
)
from cxrflow.stage_table import IMPORT, SHELLS, STAGES, TRAINING, Stage, stages_of
from finn_build.records import Estimates, Synthesis
from qnn.records import Metrics, read_history
from qnn.spec import NetworkSpec

if TYPE_CHECKING:
    from datasets.seen import Seen
    from datasets.xray import XrayData
    from finn_build.foresight import Shape
    from finn_build.targets.boards import Board
    from qnn.teacher import Source

SEEN = "images.npz"  # in a training: which images it used
WARNED_IMAGES = 10  # unreadable images that are named one by one

OnEpoch = Callable[[dict[str, float]], None]
Work = Callable[..., None]  # (run, the new folder, what the caller chose); fills the folder
WORK: dict[str, Work] = {}
INPUTS: dict[str, Callable[..., dict[str, Any]]] = {}  # what decides a result beside files, code and tools


def _work(stage: str) -> Callable[[Work], Work]:
    """Enter a function as the work of a stage."""

    def enter(function: Work) -> Work:
        WORK[stage] = function
        return function

    return enter


def _inputs(stage: str) -> Callable[[Callable[..., dict[str, Any]]], Callable[..., dict[str, Any]]]:
    """Enter a function as what decides a stage's result beside files, code and tools."""

    def enter(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        INPUTS[stage] = function
        return function

    return enter


class TrainingInterruptedError(CxrflowError):
    """Ctrl-C during training; the work so far is kept."""

    exit_code = 130


@dataclass(repr=False)
class Run:
    """One experiment's run folder and its data, which is loaded at most once."""

    experiment: Experiment
    runs: Path  # the folder that holds all runs
    console: Console
    on_epoch: OnEpoch | None = None  # told of every epoch, in place of the console
    shell: str | None = None  # whose bitstream the deploy folder gets; the last one that was made if not given
    cache: Path | None = None  # where X-rays are kept that were decoded; beside the runs if not given
    _data: "XrayData | None" = None

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.runs / self.experiment.name

    @property
    def board(self) -> str:
        """The name of the experiment's board."""
        return self.experiment.build.board

    @property
    def imported(self) -> bool:
        """Whether the network is somebody's file, and was not trained here."""
        return self.experiment.model is not None

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages that it can have."""
        return stages_of(IMPORT if self.imported else TRAINING)

    def __repr__(self) -> str:
        """Return it in a line, for a notebook."""
        model = self.experiment.model
        network = self.experiment.network.describe() if model is None else f"imported from {model.file.name}"
        made = ", ".join(name for name, row in self.stages.items() if not row.helper and self.place(name).exists())
        return f"<Run {self.experiment.name}: {network}, for {self.board}; in {self.folder}: {made or 'nothing yet'}>"

    def spare(self, output: Path, *files: Path, option: str) -> None:
        """Stop before an output would replace `files` or what this run reads. Raises ConfigError."""
        config = self.experiment.train
        others = (config.init_from, None if config.distill is None else config.distill.teacher)
        runs = [self.folder, *(referred_run(path, self.runs) for path in others if path is not None)]
        named = self.experiment.data.named(output)
        inputs = [*files, *self.experiment.files, *named, *(part for run in runs for part in parts_of(run))]
        spare([output], inputs, option=option)

    def require_trained(self) -> None:
        """Stop at an imported network. Raises ConfigError."""
        if self.experiment.model is not None:
            raise ConfigError(
                f"{self.experiment.name} is the imported network {self.experiment.model.file.name}: it has no X-rays, "
                "no training and no metrics here. Go on with `cxrflow build`, or give the experiment of a training."
            )

    def place(self, stage: str) -> Path:
        """Return the folder of a stage."""
        return STAGES[stage].place(self.folder, self.board)

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

        missing = missing_tools()
        found = [f"simulation will need {', '.join(missing)}; see `cxrflow doctor`"] if missing else []
        if self.imported:
            return found
        if not self.experiment.network.is_quantized:
            raise ConfigError(
                f"{self.experiment.network.describe()} has float layers, expected 1 to 8 bits: float cannot become "
                "hardware. Change 'network', or only train it with `cxrflow train`."
            )
        if self.experiment.network.convolutions:  # how wide their sums are, and so what they cost, is seen in the build
            return found
        shapes = _shapes(self.experiment.network, self.experiment.export.factor_bits)
        return [*foresee(shapes, self.experiment.build), *found]

    def doubts(self) -> list[str]:
        """Return why the network that a training gives may not become hardware; float layers are not meant to."""
        if self.imported or not self.experiment.network.is_quantized:
            return []
        try:
            return self.foresee()
        except ConfigError as err:
            return [f"trained all the same, but {err}"]

    def data(self) -> "XrayData":
        """Load the experiment's X-rays, from the cache if nothing changed."""
        self.require_trained()
        if self._data is None:
            self._data = load_data(self.experiment, cache=self.cache or self.runs / ".cache", console=self.console)
        return self._data

    def make(self, stage: str, **chosen: Any) -> bool:
        """Make a stage unless it is there for the same inputs. Returns whether anything had to be done.

        Args:
            stage: its name in the table.
            chosen: what its function takes beside the run and the folder.

        Raises:
            ArtifactError: an earlier stage is missing, altered or stale.
            ConfigError: an earlier stage is of another experiment.
        """
        row = STAGES[stage]
        self._require_its_own(stage)
        if stage == "build" and (aside := keep_nested(self.place("build"))) is not None:
            self.console.warn(f"the build of an earlier version, and all that lay in it, is now {aside}")
        for helper in (before for before in self.stages[stage].reads if STAGES[before].helper):
            self.make(helper)
        try:
            inputs = self.inputs(stage, **chosen)
        except CxrflowError:
            if "build" in self.stages[stage].reads:
                self.foresee()  # nobody is sent to make a build that cannot be
            raise
        ran = run_stage(
            self.place(stage),
            inputs,
            self.experiment.sections(*row.sections),
            lambda out: WORK[stage](self, out, **chosen),
            say=self.console.detail,
            name=stage,
            keeps=row.keeps,
        )
        # A stage that found nothing to do says nothing of what others may be refused for. An import is told of all.
        if ran or row.front == IMPORT or not self._is_recorded(*row.sections):
            self._record()
        return ran

    @property
    def _file(self) -> Path:
        """The run's own experiment file: only what was made is in it, nothing that a stage was refused for."""
        return self.folder / "experiment.yaml"

    def _is_recorded(self, *sections: str) -> bool:
        """Whether the run's own file has this name and says the same in these sections."""
        try:
            before = load_experiment(self._file)
        except ConfigError:
            return False
        return (before.name, before.sections(*sections)) == (self.experiment.name, self.experiment.sections(*sections))

    def _record(self) -> None:
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
            save_experiment(self._file, self.experiment)

    @contextlib.contextmanager
    def recording(self, on_epoch: OnEpoch | None) -> Iterator[OnEpoch]:
        """Yield what records the experiment with the first epoch; a refusal puts back what was there."""
        before = self._file.read_bytes() if self._file.is_file() else None
        recorded = False

        def after_epoch(row: dict[str, float]) -> None:
            nonlocal recorded
            if not recorded:
                self._record()
                recorded = True
            if on_epoch is not None:
                on_epoch(row)

        try:
            yield after_epoch
        except ConfigError:
            if recorded and before is None:
                self._file.unlink()
            elif recorded and before is not None:
                write_whole(self._file, before)
            raise

    def _require_its_own(self, stage: str) -> None:
        """Stop at a stage of the other front end, which would put its integers in the place of this run's."""
        front = STAGES[stage].front
        if front == TRAINING:
            self.require_trained()
        if front == IMPORT and not self.imported:
            raise ConfigError(
                f"{self.experiment.name} is of a training. Give an ONNX file: `cxrflow import FILE --name NAME`."
            )
        if front and self._file.is_file() and (other := "model" in read_fields(self._file)) != self.imported:
            what = "an imported network" if other else "a training"
            raise ConfigError(f"{self.folder} is the run of {what}, expected a name of its own. Choose another name.")

    def make_import(self) -> bool:
        """Import the file; where it is refused the run stays as it was, there or not. Returns whether it was done."""
        own = self.folder.resolve()
        inside = next((path for path in self.experiment.files if own in path.resolve().parents), None)
        if inside is not None:
            raise ConfigError(
                f"{inside} lies in {self.folder}, the run that it is to become, whose folders are written anew; "
                "expected a place outside. Move it, or choose another --name."
            )
        return self.make("import")

    def front(self) -> list[tuple[str, Callable[[], bool]]]:
        """Return the stages, and how each is made, that give this run's integers."""
        own = [name for name, row in self.stages.items() if row.front and not row.helper]
        return [(name, self.train if name == "train" else partial(self.make, name)) for name in own]

    def inputs(self, stage: str, **chosen: Any) -> dict[str, Any]:
        """Return all that decides a stage's result; raises as `make` does where an earlier one cannot be used."""
        row = STAGES[stage]
        return {
            "reads": self._reads(stage),
            **(INPUTS[stage](self, **chosen) if stage in INPUTS else {}),
            "code": code_key(*row.code),
            "work": function_key(WORK[stage]),
            "versions": {tool: version(tool) for tool in row.tools},
        }

    def _reads(self, stage: str) -> dict[str, str]:
        """Return the hashes of the files of earlier stages that a stage reads, having made sure that these are good."""
        row, found = self.stages[stage], dict[str, str]()
        if "build" in row.reads:
            require_layout(self.folder, self.board)
        for before, patterns in (*row.reads.items(), *row.may_read.items()):
            if before in row.may_read and self.there(before) is None:
                self._tell_left_out(before)
                continue
            sections = self.experiment.sections(*STAGES[before].sections)
            stamp = require_stage(self.folder, self.board, before, sections, self.stages)
            found |= matching(stamp, f"{self.place(before).relative_to(self.folder)}/", patterns)
        return found

    def there(self, stage: str) -> Path | None:
        """Return the folder of a stage to be shown or shipped; None: not there, stale, or another shell's bitstream."""
        folder = self.place(stage)
        other_shell = stage in SHELLS.values() and stage != self._bitstream()
        return folder if folder.exists() and not other_shell and not self._stale(stage) else None

    def _stale(self, stage: str) -> str | None:
        return stale(self.folder, self.board, stage, self.stages)

    def _tell_left_out(self, stage: str) -> None:
        if (before := self._stale(stage)) is not None:
            self.console.warn(
                f"{self.place(stage)} was made from an earlier {before} and is left out; "
                f"`cxrflow {STAGES[stage].command}` makes it again"
            )

    def _bitstream(self) -> str | None:
        """Return the stage of the bitstream that is meant: the chosen shell's, or the one that was made last."""
        if self.shell is not None:
            return SHELLS[self.shell]
        made = [name for name in SHELLS.values() if self.place(name).exists()]
        return max(made, key=lambda name: self.place(name).stat().st_mtime, default=None)

    def train(self, *, test: bool = True) -> bool:
        """Train and measure; without `test`, on validation images only. Returns whether anything had to be done."""
        self.require_trained()
        self._recognise_source()
        ran = self.make("train", sources=self._sources(), test=test)
        ran = (test and self._add_test()) or ran
        return self.make("figures") or ran

    def _recognise_source(self) -> None:
        """Stop at what can be no source of X-rays, before PyTorch takes seconds to load. Raises DataError."""
        from datasets.source import recognise

        if self.experiment.data.source != "phantom" and self._data is None:
            recognise(self.experiment.data.source)

    def _add_test(self) -> bool:
        """Look at the test images if this training has not. Returns whether anything had to be done."""
        from qnn.checkpoint import load_checkpoint
        from qnn.results import add_test

        folder = self.place("train")
        if self._metrics().test is not None:
            return False
        metrics = read_json(folder / "metrics.json", advice="Run `cxrflow train` again.")
        net = load_checkpoint(folder / "checkpoint.pt", expected=self.experiment.network).net
        amend_stage(folder, lambda out: add_test(net, self.data(), self.experiment.train, metrics, out))
        return True

    def _metrics(self) -> Metrics:
        return read_record(self.place("train") / "metrics.json", Metrics)

    def _sources(self) -> "dict[str, Source | None]":
        """Load the finished runs that this training builds on, and check that they fit."""
        from qnn.training import check_sources

        config = self.experiment.train
        named = {"teacher": config.distill.teacher if config.distill else None, "initial": config.init_from}
        sources = {name: None if path is None else self._source(name, path) for name, path in named.items()}
        check_sources(self.data(), self.experiment.network, config, **sources)
        return sources

    def untrained(self) -> list[str]:
        """Return the names of runs that this training builds on and that are not trained; none where it is trained."""
        config = self.experiment.train
        named = (config.init_from, None if config.distill is None else config.distill.teacher)
        if self.imported or self.place("train").is_dir():
            return []
        missing = [path for path in named if path and not (referred_run(path, self.runs) / "train").is_dir()]
        return list(dict.fromkeys(str(path) for path in missing if len(path.parts) == 1))

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
        metrics = read_record(folder / "train" / "metrics.json", Metrics)
        net, digest = load_checkpoint(checkpoint).net, hash_file(checkpoint)
        return Source(net, metrics.split, folder.name, digest, tuple(metrics.class_names))

    @contextlib.contextmanager
    def epochs(self) -> Iterator[OnEpoch | None]:
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
        self.require_trained()
        self._recognise_source()
        from datasets.classes import ClassesError
        from datasets.seen import count_seen
        from qnn.checkpoint import load_checkpoint
        from qnn.drawn import report_evaluation
        from qnn.evaluation import merge

        require_files(self.place("train"), "train")
        metrics = self._metrics()
        points = metrics.operating_points
        if not points and self.experiment.network.outputs == 1:
            raise ArtifactError(
                f"{self.folder / 'train'} was made by an earlier version, which chose no operating points. "
                "Run `cxrflow train` again."
            )
        checkpoint = load_checkpoint(self.place("train") / "checkpoint.pt", expected=self.experiment.network)
        trained = f"{self.experiment.name} was trained for {join_names(metrics.class_names)[:200]}"
        try:
            data = self.data()
        except ClassesError as err:  # whose advice, to list others, would only lead to the refusal below
            raise DataError(
                f"{err.found}. {trained}, and only images of all these can be measured: keep 'data.classes' so, and "
                "give a source that has them, or one in which the labels are renamed to them."
            ) from err
        if not same_classes(data.class_names, metrics.class_names):
            raise ConfigError(other_classes(data.source, data.class_names, self.experiment.name, metrics.class_names))
        split = merge([data.train, data.val, data.test]) if everything else data.test
        seen = count_seen(self.place("train") / SEEN, split.pixels)
        self._warn_seen(seen, everything=everything, same_source=data.fingerprint == checkpoint.fingerprint)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", data.source)[:40] + f"-{data.fingerprint[:8]}"
        folder = self.folder / "evaluation" / name
        rule = self.experiment.train.operating_point
        with writing(folder):
            replace_folder(
                folder,
                lambda out: report_evaluation(
                    checkpoint.net,
                    split,
                    points,
                    rule,
                    out,
                    with_shifts=with_shifts,
                    source=data.source,
                    seen=seen,
                    names=metrics.class_names,
                    one_class=metrics.one_class,
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

    def require_same_xrays(self) -> None:
        """Stop unless the X-rays are still those of the training."""
        stamp, now = read_stamp(self.place("train")), self.data()
        before = "none" if stamp is None else str(stamp.inputs["data"]["content"])
        if before != now.fingerprint:
            raise ArtifactError(
                f"{self.folder / 'train'} was trained on other X-rays (fingerprint {before[:12]}) than {now.source} "
                f"holds now (fingerprint {now.fingerprint[:12]}). Put the images back, or run `cxrflow train` again."
            )

    def simulate(self, *, wave: Path | None = None) -> bool:
        """Simulate the RTL on every test image. Returns whether anything had to be done."""
        ran = self.make("simulate")
        if wave is not None:
            self._write_wave(wave)
        return ran

    def _write_wave(self, wave: Path) -> None:
        from contract.golden import load_golden
        from finn_build.stitch import load_design
        from finn_build.verify import WAVE_IMAGES, write_wave
        from finn_build.wave_view import write_views

        rtl = self.place("build") / "rtl"
        design = load_design(rtl)
        pixels = load_golden(self.place("export") / "golden.npz").pixels[:WAVE_IMAGES]
        self.console.detail(f"writing the waveform of the first {len(pixels)} images")
        with output(wave, parents=True, option="--wave") as partial:
            write_wave(rtl, design, pixels, partial, self.folder / ".wave")
        for sentence in write_views(wave, design, option="--wave"):
            self.console.detail(sentence)

    def synth(self) -> bool:
        """Count with Yosys, and draw it. Returns whether anything had to be done."""
        ran = self.make("synth")
        return self.make("synth_figure") or ran

    def bitstream(self, *, shell: str, idle_minutes: float) -> bool:
        """Build a shell's bitstream, which the deploy folder then gets. Returns whether anything had to be done."""
        require_shell(shell)
        self.shell = shell
        return self.make(SHELLS[shell], idle_minutes=idle_minutes)

    def package(self) -> bool:
        """Write the deploy folder and its archive. Returns whether anything had to be done."""
        from cxrflow.package import write_archive

        ran, deploy = self.make("package"), self.place("package")
        if ran or not deploy.with_name(f"{deploy.name}.tar.gz").exists():
            with writing(deploy.parent):
                write_archive(deploy)
        return ran


@_inputs("train")
def _train_inputs(run: Run, *, sources: "dict[str, Source | None]", test: bool) -> dict[str, Any]:
    return {
        "network": run.experiment.network.model_dump(mode="json"),
        "train": run.experiment.train.model_dump(mode="json"),
        "data": {
            "content": run.data().fingerprint,
            "val_fraction": run.experiment.data.val_fraction,
            "seed": run.experiment.data.seed,
        },
        "sources": {field: None if source is None else source.sha256 for field, source in sources.items()},
        "preprocess": PREPROCESS_VERSION,
    }


@_work("train")
def _train(run: Run, out: Path, *, sources: "dict[str, Source | None]", test: bool) -> None:
    from datasets.seen import save_seen
    from qnn.checkpoint import save_checkpoint
    from qnn.results import finish
    from qnn.training import train, training_device

    experiment, workdir = run.experiment, run.folder / ".training"
    inputs = run.inputs("train", sources=sources, test=test)
    made_from = {"experiment": experiment.name, "git_commit": git_commit(), **inputs}
    if (device := training_device(experiment.train)) != "cpu":
        run.console.detail(
            f"training on {device}: its weights differ from a CPU's; all that follows is as exact as with those"
        )
    with run.epochs() as told, run.recording(told) as on_epoch:
        result = train(
            run.data(),
            experiment.network,
            experiment.train,
            workdir=workdir,
            **sources,
            progress=run.console.live and run.on_epoch is None,
            on_epoch=on_epoch,
        )
    if result.interrupted:
        best = run.folder / "interrupted.pt"
        save_checkpoint(best, result.net, operating_point=result.operating_point, fingerprint=run.data().fingerprint)
        raise TrainingInterruptedError(
            f"training was interrupted; the best network so far is in {best}. "
            "Run the same command again to go on where it stopped."
        )
    finish(result, run.data(), experiment.network, experiment.train, out, made_from=made_from, test=test)
    save_seen(out / SEEN, run.data())
    shutil.rmtree(workdir, ignore_errors=True)
    (run.folder / "interrupted.pt").unlink(missing_ok=True)


@_inputs("figures")
def _figures_inputs(run: Run) -> dict[str, Any]:
    run.require_same_xrays()
    return {"data": run.data().fingerprint}


@_work("figures")
def _figures(run: Run, out: Path) -> None:
    from qnn.checkpoint import load_checkpoint
    from qnn.drawn import draw_training

    folder, experiment = run.place("train"), run.experiment
    net = load_checkpoint(folder / "checkpoint.pt", expected=experiment.network).net
    metrics = read_json(folder / "metrics.json", advice="Run `cxrflow train` again.")
    draw_training(net, run.data(), experiment.train, metrics, read_history(folder / "history.csv"), out)


@_inputs("export")
def _export_inputs(run: Run) -> dict[str, Any]:
    run.require_same_xrays()
    return {"data": run.data().fingerprint, "config": run.experiment.export.model_dump(mode="json")}


@_work("export")
def _export(run: Run, out: Path) -> None:
    from contract.likeness import FILE
    from datasets.likeness import fit_likeness
    from export.export import export_run
    from export.records import Exported
    from qnn.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(run.place("train") / "checkpoint.pt", expected=run.experiment.network)
    data, config = run.data(), run.experiment.export
    export_run(checkpoint, data.test, out, config, validation=data.val)
    made = read_record(out / "export.json", Exported)
    likeness = fit_likeness(data.train.pixels, data.val.pixels)
    if likeness is not None:
        likeness.save(out / FILE)
    if made.narrowed is not None:
        run.console.detail(made.narrowed.sentence)


@_inputs("import")
def _import_inputs(run: Run) -> dict[str, Any]:
    from contract import npz, onnx_file

    model = run.experiment.model
    assert model is not None
    files = {"file": model.file, "samples": model.samples, "labels": model.labels}
    for what, path in files.items():
        if path is None:
            continue
        if not path.is_file():
            raise ConfigError(f"'model.{what}' is {path}, which is no file. Give one that is there.")
        require_size(path, onnx_file.MAX_BYTES if what == "file" else npz.MAX_BYTES, advice="Give another file.")
    hashes = {what: None if path is None else hash_file(path) for what, path in files.items()}
    return {"input": model.input, "input_scale": model.input_scale, **hashes}


@_work("import")
def _import(run: Run, out: Path) -> None:
    from export.foreign.folder import Given, import_file

    model = run.experiment.model
    assert model is not None
    import_file(model.file, out, Given(model.input, model.input_scale, model.samples, model.labels))


@_inputs("build")
def _build_inputs(run: Run) -> dict[str, Any]:
    config = run.experiment.build
    return {
        "config": config.model_dump(mode="json"),
        "folding": None if config.folding is None else _hash_folding(config.folding),
    }


@_work("build")
def _build(run: Run, out: Path) -> None:
    run.foresee()  # what the file alone says is refused before FINN is loaded, as by every other command
    from finn_build.build import build

    build(run.place("export"), out, run.experiment.build, run.console.detail)


@_work("simulate")
def _simulate(run: Run, out: Path) -> None:
    from finn_build.verify import simulate_build

    with run.console.progress("simulating, image") as progress:
        simulate_build(run.place("build"), run.place("export"), out, run.console.detail, progress=progress)


@_inputs("synth")
def _synth_inputs(run: Run) -> dict[str, Any]:
    from finn_build.synth import tool_version

    return {"board": _board(run).model_dump(mode="json"), "yosys": tool_version()}


@_work("synth")
def _synth(run: Run, out: Path) -> None:
    from finn_build.synth import synthesise_build

    cache = run.runs / ".cache" / "synth"
    synthesise_build(run.place("build"), _board(run), out, cache=cache, report=run.console.detail)


@_work("synth_figure")
def _synth_figure(run: Run, out: Path) -> None:
    from cxrflow.synth_figure import plot_synthesis

    synthesis = read_record(run.place("synth") / "synth.json", Synthesis)
    estimates = read_record(run.place("build") / "estimates.json", Estimates)
    out.mkdir(parents=True)
    plot_synthesis(synthesis, estimates, out / "synth.png")


@_inputs("gates")
def _gates_inputs(run: Run) -> dict[str, Any]:
    from finn_build.synth import tool_version

    return {"family": _board(run).yosys_family, "yosys": tool_version()}


@_work("gates")
def _gates(run: Run, out: Path) -> None:
    from finn_build.gates import check_gates

    run.console.detail("synthesising the whole design and compiling its netlist")
    check_gates(run.place("build"), run.place("export"), out, family=_board(run).yosys_family)


@_inputs("ip")
def _ip_inputs(run: Run) -> dict[str, Any]:
    return {"name": run.experiment.name}


@_work("ip")
def _ip(run: Run, out: Path) -> None:
    from finn_build.ip.folder import write_ip

    write_ip(
        run.place("build"),
        run.place("export") / "golden.npz",
        out,
        name=run.experiment.name,
        sim=run.there("simulate"),
        synth=run.there("synth"),
    )


@_work("vivado")
def _vivado(run: Run, out: Path) -> None:
    from finn_build.flows.vivado.prepare import write_project

    write_project(run.place("build"), out)


@_work("synth_vivado")
def _synth_vivado(run: Run, out: Path, *, idle_minutes: float) -> None:
    from finn_build.flows.vivado.flow import synthesize

    say = run.console.detail
    synthesize(run.place("build"), run.place("vivado"), out, say=say, idle_minutes=idle_minutes)


@_work("bitstream")
def _bitstream(run: Run, out: Path, *, idle_minutes: float) -> None:
    from finn_build.flows.vivado.flow import build_bitstream

    say = run.console.detail
    build_bitstream(run.place("build"), run.place("vivado"), out, say=say, idle_minutes=idle_minutes)


@_work("bitstream_iodma")
def _bitstream_iodma(run: Run, out: Path, *, idle_minutes: float) -> None:
    from finn_build.flows.finn_iodma.flow import build_bitstream

    if (bits := run.experiment.build.stream_bits) is not None:
        raise ConfigError(
            f"'build.stream_bits' is {bits}, but FINN's own shell chooses the widths of its engines itself. Leave it "
            "out, or use the shell axi_dma."
        )
    build_bitstream(run.place("build"), run.place("export"), out, board=_board(run), say=run.console.detail)


@_inputs("package")
def _package_inputs(run: Run) -> dict[str, Any]:
    from cxrflow.package import shipped_files

    return {"name": run.experiment.name, "ships": bytes_key(*shipped_files())}


@_work("package")
def _package(run: Run, out: Path) -> None:
    from cxrflow.package import Parts, package_run

    bitstreams = [found for name in SHELLS.values() if (found := run.there(name)) is not None]
    parts = Parts(
        None if run.imported else run.place("train"),
        run.place("export"),
        run.place("build"),
        run.there("simulate"),
        next(iter(bitstreams), None),
    )
    package_run(run.experiment, parts, out)


def _board(run: Run) -> "Board":
    from finn_build.targets.boards import BOARDS

    return BOARDS[run.board]


def _shapes(network: NetworkSpec, factor_bits: int | None) -> "list[Shape]":
    """Return what is known of a quantized network's layers before its training."""
    from finn_build.foresight import Shape

    sizes = (network.inputs, *network.hidden, network.outputs)
    widths = zip(network.weight_bits_per_layer, (*network.act_bits_per_layer, None), strict=True)
    return [
        Shape(mw, mh, int(weight_bits), None if act_bits is None else int(act_bits), factor_bits)
        for (mw, mh), (weight_bits, act_bits) in zip(pairwise(sizes), widths, strict=True)
    ]


def require_shell(shell: str) -> None:
    """Stop unless `shell` is one that a bitstream can have. Raises ConfigError."""
    if shell not in SHELLS:
        raise ConfigError(f"'{shell}' is not a known shell, expected {' or '.join(SHELLS)}.")


def referred_run(path: Path, runs: Path) -> Path:
    """Return the run folder that a field of the experiment means: a bare name is a run beside this one."""
    return runs / path if len(path.parts) == 1 else path


def _hash_folding(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"'build.folding' is {path}, which is not there. Give a file, or 'build.target_fps' instead.")
    require_size(path, MAX_TEXT_BYTES, advice="Give another file, or 'build.target_fps' instead.")
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
        return make_phantoms(
            height=height, width=width, val_fraction=data.val_fraction, seed=data.seed, classes=data.classes
        )
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
