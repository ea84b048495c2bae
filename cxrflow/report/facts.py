"""What is known about a run, collected from its folder: every stage that is whole and belongs to the others.

A stage that is not there, or was made from something that has since been made anew, is missing: the report says so and
names the command.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from contract.errors import ArtifactError, ConfigError, CxrflowError
from contract.files import read_text
from contract.golden import Labelled, load_labelled
from contract.likeness import FILE, is_unlike, load_likeness
from contract.record import WITNESSES, Chain, Link, Record, read_record
from contract.table import shown
from cxrflow.experiment import Experiment, load_experiment
from cxrflow.package import Deployed
from cxrflow.report.words import words
from cxrflow.runs import MISMATCH, Stamp, read_stamp, require_files, require_layout, stale
from cxrflow.stage_table import IMPORT, STAGES, TRAINING, Stage, behind, stages_of
from export.records import Exported
from finn_build.records import Built, Estimates, Folding, Gates, Routed, Simulated, Stitched, Synthesis
from finn_build.resources import Sourced, sourced
from finn_build.targets.boards import BOARDS, Board
from qnn.records import Epoch, Measured, MeasuredClasses, Metrics, read_history

RECORDS: tuple[tuple[str, str, str, type[Record | Folding]], ...] = (  # field of Facts, stage, file, what it holds
    ("metrics", "train", "metrics.json", Metrics),
    ("exported", "export", "export.json", Exported),
    ("exported", "import", "export.json", Exported),
    ("built", "build", "build.json", Built),
    ("estimates", "build", "estimates.json", Estimates),
    ("folding", "build", "folding.json", Folding),
    ("simulated", "simulate", "sim.json", Simulated),
    ("synthesis", "synth", "synth.json", Synthesis),
    ("gates", "gates", "gates.json", Gates),
    ("routed", "synth_vivado", "synth.json", Routed),
    ("routed", "bitstream", "bitstream.json", Routed),
    ("deployed", "package", "accelerator.json", Deployed),
)


SHORT = {"rtl": "RTL", "file_float64": "its integers"}  # for stages at the end of a chain


@dataclass(frozen=True)
class Equality:
    """How far the integers are the same."""

    differing: int  # in all of the chain
    images: int  # that reached its end
    first: str
    last: str

    def __str__(self) -> str:
        """Return it as every face says it, such as: 100 images, the file to RTL."""
        return f"{self.images:,} images, {self.first} to {self.last}"


@dataclass(frozen=True)
class Stopped:
    """A stage that was stopped because its integers differ."""

    stage: str
    said: str  # the error, with the first stage, layer and image that differ
    kept: str  # folder with the two tensors, relative to the run


@dataclass(frozen=True)
class Facts:
    """A run as far as it went. What is None is missing, and `missing` has the command."""

    name: str
    experiment: Experiment
    board: Board
    command: str  # how to call a subcommand for this run, with {} for its name
    metrics: Metrics | None = None
    history: list[Epoch] = field(default_factory=list)
    golden: Labelled | None = None
    unlike: int | None = None  # of the test images, how many are called unlike the training images
    exported: Exported | None = None
    built: Built | None = None
    estimates: Estimates | None = None
    folding: Folding | None = None
    design: Stitched | None = None  # None, too, where FINN has no RTL
    simulated: Simulated | None = None
    synthesis: Synthesis | None = None
    gates: Gates | None = None
    routed: Routed | None = None
    deployed: Deployed | None = None
    fields: dict[str, Any] = field(default_factory=dict)  # of the experiment; of a path, only its last part
    missing: dict[str, str] = field(default_factory=dict)  # stage -> why it is missing, of those that can be made
    ends: str = ""  # why this run goes no further, where that is not for lack of a command
    stopped: tuple[Stopped, ...] = ()

    def make(self, stage: str) -> str:
        """Return the command that makes a stage of this run."""
        return self.command.format(STAGES[stage].command)

    @property
    def network(self) -> str:
        """The network in a few letters."""
        if self.exported is not None and self.exported.imported is not None:
            return f"{self.exported.network} ({shown(self.exported.imported.file)})"
        model = self.experiment.model
        return self.experiment.network.describe() if model is None else shown(model.file.name)

    @property
    def clock_mhz(self) -> float:
        """The clock that was asked for [MHz]: cycles times its period are the times; whether it can be had is open."""
        return 1e3 / self.experiment.build.clk_ns if self.simulated is None else self.simulated.clock_mhz

    @property
    def outputs(self) -> int:
        """Integers per image."""
        return self.exported.layers[-1].outputs if self.exported is not None and self.exported.layers else 1

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""
        return ("NORMAL", "PNEUMONIA") if self.metrics is None else self.metrics.class_names

    @property
    def test(self) -> Measured | MeasuredClasses | None:
        """The metrics of the test images."""
        return None if self.metrics is None else self.metrics.test

    @property
    def resources(self) -> tuple[Sourced, ...]:
        """What the design takes, by source, the closest to the part first: every face shows these and no others."""
        return () if self.estimates is None else sourced(self.estimates, self.synthesis, self.routed)

    @property
    def chain(self) -> Chain:
        """The chain of equality, as far as the run went."""
        links = [*(self.exported.chain if self.exported else []), *(self.built.chain if self.built else [])]
        if self.deployed is not None and self.deployed.provenance.golden_images_equal_on_cpu is not None:
            equal = self.deployed.provenance.golden_images_equal_on_cpu  # no folder is written when a logit differs
            links.append(Link(stage="cpu_reference", images=equal, differing=0))
        if self.simulated is not None:
            links.append(Link(stage="rtl", images=self.simulated.images, differing=self.simulated.differing))
            stalled = self.simulated.images_with_random_stalls
            links.append(Link(stage="rtl_with_random_stalls", images=stalled, differing=0))
        if self.gates is not None:
            links.append(Link(stage="netlist", images=self.gates.images, differing=self.gates.differing))
        return links

    @property
    def equality(self) -> Equality | None:
        """What the chain says in one line; None: nothing was compared yet."""
        imported = self.exported is not None and self.exported.imported is not None
        return equality_of(self.chain, "the file" if imported else "Brevitas")


def collect(folder: Path, *stages: str, board: str | None = None) -> Facts:
    """Read a run folder.

    Args:
        folder: of the run.
        stages: those to look at; all if none is named.
        board: whose build and what follows it; the experiment's if not given.

    Raises:
        ConfigError: it is no run, or its experiment file is damaged.
        ArtifactError: a file is not the one that its stage wrote, or says what no stage would write.
    """
    experiment = load_experiment(folder / "experiment.yaml", board=board)
    of = BOARDS[experiment.build.board]
    can_be = stages_of(TRAINING if experiment.model is None else IMPORT)
    looked_at = {name: row for name, row in can_be.items() if not row.helper and (not stages or name in stages)}
    if behind("build") & looked_at.keys():
        require_layout(folder, of.name)
    stamps = {name: _stamp(stage.place(folder, of.name), stage) for name, stage in looked_at.items()}
    missing = _missing(folder, of.name, stamps, can_be)
    here = {name: can_be[name].place(folder, of.name) for name in looked_at if name not in missing}
    found = Facts(
        name=shown(folder.resolve().name),
        experiment=experiment,
        board=of,
        command=_command(folder),
        fields=_without_paths(experiment),
        missing=missing,
        stopped=_stopped(folder, of.name, looked_at, missing),
    )
    content: dict[str, Any] = {}
    if "train" in here:
        content["history"] = read_history(here["train"] / "history.csv")
    if "export" in here:
        golden = content["golden"] = load_labelled(here["export"] / "golden.npz")
        content["unlike"] = _unlike(here["export"] / FILE, golden)
    for name, stage, file, kind in RECORDS:
        if stage in here:
            content[name] = read_record(here[stage] / file, kind)
    if "build" in here:
        content["design"] = read_record(here["build"] / "rtl" / "design.json", Stitched)
    ends, impossible = _ends(experiment)
    content |= {"ends": ends, "missing": {name: why for name, why in missing.items() if name not in impossible}}
    return Facts(**{**vars(found), **content})


def _unlike(path: Path, golden: Labelled) -> int | None:
    """Return how many golden images are called unlike the training images; None where the export does not tell."""
    if not path.is_file():
        return None
    height, width = golden.pixels.shape[1:]
    times = load_likeness(path, height=height, width=width).unlikeness(golden.pixels)
    return sum(map(is_unlike, times.tolist()))


def equality_of(chain: Chain, first: str) -> Equality | None:
    """Return what a chain that begins with `first` says in one line; None: nothing was compared."""
    links = [link for link in chain if link.differing is not None and link.stage not in WITNESSES]
    if not links:
        return None
    # Behind the RTL, and behind the CPU reference where there is none, there are only samples of its images.
    last = next((link for name in ("rtl", "cpu_reference") for link in links if link.stage == name), links[-1])
    differing = sum(link.differing or 0 for link in links)
    return Equality(differing, last.images, first, SHORT.get(last.stage, words(last.stage)))


def import_sentences(facts: Facts) -> list[str]:
    """Say what an imported network reads and gives, and what a run without training has not."""
    exported = facts.exported
    if exported is None or exported.imported is None:
        return []
    found = exported.imported
    fed = f"It is fed {found.reads}"
    if exported.rule is not None:
        count = len(exported.rule.thresholds[0])
        fed += f", of which the host makes {exported.rule.datatype} by {count} threshold{'s' * (count > 1)}"
    head = exported.head
    end = "" if head is None or not head.end else f", then {head.end}, on the host"
    outputs = exported.layers[-1].outputs if exported.layers else 0
    known = (
        "No labels were given, so nothing is known of how good it is: no metrics, no calibration, no operating point."
        if found.labels is None
        else f"{found.labels.correct} of {found.labels.images} samples get the class of their label."
    )
    return [
        f"{shown(found.file)}: {exported.network}. {fed}; it gives {outputs} integer{'s' * (outputs != 1)}{end}.",
        known,
    ]


T = TypeVar("T")
U = TypeVar("U")


def each(items: Iterable[T], read: Callable[[T], U]) -> tuple[list[U], list[CxrflowError]]:
    """Return what `read` gives for each item, and the errors of those that are damaged, which hide no other."""
    found, damaged = list[U](), list[CxrflowError]()
    for item in items:
        try:
            found.append(read(item))
        except CxrflowError as err:
            damaged.append(err)
    return found, damaged


def finished(runs: Path) -> tuple[list[Facts], list[CxrflowError]]:
    """Return the runs in a folder that have a deploy folder, once per board of each, and what is wrong with others."""

    def read(deploy: Path) -> Facts:
        run = deploy.parents[1]
        facts = collect(run, board=deploy.name)
        if facts.deployed is None:
            raise ArtifactError(f"{deploy} was {facts.missing['package']}. Run `{facts.make('package')}`.")
        return facts

    return each(sorted(path.parent for path in runs.glob("*/deploy/*/accelerator.json")), read)


def trained(runs: Path) -> tuple[list[tuple[str, Metrics]], list[CxrflowError]]:
    """Return the names and the metrics of runs that one of several seeds made, and what is wrong with others."""
    found, damaged = each(
        sorted(path.parents[1] for path in runs.glob("*-seed*/train/metrics.json")),
        lambda run: (run.name, collect(run, "train")),
    )
    return [(name, facts.metrics) for name, facts in found if facts.metrics is not None], damaged


def _ends(experiment: Experiment) -> tuple[str, tuple[str, ...]]:
    """Return why a run goes no further, and the stages that it can never have."""
    if not experiment.network.is_quantized:
        return "Float layers cannot become hardware: this run ends with its training.", tuple(behind("export"))
    return "", ()


def require_test(run: Path, facts: Facts) -> None:
    """Stop at a run of a sweep that nobody has selected: it has no test metrics, and a report must not make any."""
    if facts.metrics is not None and facts.metrics.test is None:
        raise ConfigError(
            f"{run} has not looked at the test images, as runs of a sweep do only when selected. Run `cxrflow sweep "
            f"select {run.parent}`, or `cxrflow train {run / 'experiment.yaml'} --runs {run.parent}`, first."
        )


def _stamp(folder: Path, stage: Stage) -> Stamp | None:
    """Return the stamp of a finished stage whose files are those that were made; None if it is not there."""
    if not folder.exists():
        return None
    if read_stamp(folder) is None:
        raise ArtifactError(
            f"{folder} has no whole stage.json, expected what its stage wrote. Delete it and run "
            f"`cxrflow {stage.command}` again."
        )
    return require_files(folder, stage.command)


def _missing(run: Path, board: str, stamps: Mapping[str, Stamp | None], stages: Mapping[str, Stage]) -> dict[str, str]:
    """Say why each stage that cannot be shown is missing."""
    missing: dict[str, str] = {}
    for name, stamp in stamps.items():
        if stamp is None:
            missing[name] = "not there yet"
        elif (earlier := stale(run, board, name, stages)) is not None:
            missing[name] = f"made from an earlier {earlier}"
        elif (before := next((one for one in stages[name].reads if one in missing), None)) is not None:
            missing[name] = f"made from what is now missing: {before}"
    return missing


def _command(folder: Path) -> str:
    """Return how to call a subcommand for this run, with {} for its name; no path outside the folder of runs."""
    runs, name = shown(folder.resolve().parent.name), shown(folder.resolve().name)
    return f"cxrflow {{}} {runs}/{name}/experiment.yaml" + ("" if runs == "runs" else f" --runs {runs}")


def _stopped(run: Path, board: str, stages: Iterable[str], missing: dict[str, str]) -> tuple[Stopped, ...]:
    """Return those of `stages` that a difference stopped the last time that they ran, and what they said."""
    found = []
    for name in stages:
        stage = STAGES[name].place(run, board)
        failed = stage.with_name(f"{stage.name}.failed")
        if failed.is_dir() and (name in missing or failed.stat().st_mtime > stage.stat().st_mtime):
            said = (
                read_text(failed / MISMATCH, advice="Delete it.").strip()
                if (failed / MISMATCH).is_file()
                else "not kept"
            )
            found.append(Stopped(name, said[:1000].replace(f"{run}/", ""), str(failed.relative_to(run))))
    return tuple(found)


def _without_paths(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment's fields with the last part only of every path: folders name people."""
    content = experiment.model_dump(mode="json")
    if experiment.model is not None:
        content = {name: content[name] for name in ("name", "model", "build")}
        paths = [("model", "file"), ("model", "samples"), ("model", "labels"), ("build", "folding")]
    else:
        del content["model"]
        paths = [("data", "source"), ("train", "init_from"), ("build", "folding")]
    for section, key in paths:
        value = content[section][key]
        content[section][key] = None if value is None else Path(value).name
    if experiment.model is None and content["train"]["distill"] is not None:
        content["train"]["distill"]["teacher"] = Path(content["train"]["distill"]["teacher"]).name
    return content
