"""The command line. Each command is a thin shell around one function."""

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from typer.core import TyperGroup

from contract.drawing import ENDINGS
from contract.errors import ConfigError, CxrflowError
from contract.files import output, refuses, spare
from contract.manifest import DISCLAIMER
from contract.table import print_anything, shown
from cxrflow.console import Console, duration
from cxrflow.formats import HELP, Figures, require, text_of
from cxrflow.runs import expect_imports, locked, make_folder, parts_of, unusable, writing
from cxrflow.stage_table import INTEGERS, STAGES

if TYPE_CHECKING:
    from cxrflow.report.facts import Facts
    from cxrflow.stages import Run
    from datasets.fetch import Published

Command = TypeVar("Command", bound=Callable[..., None])
INTERRUPTED = 130  # exit code
HARDWARE = ("build", "simulate", "synth")  # stages that the table of the hardware reads
app = typer.Typer(
    help="Chest X-rays to a bit-exact FPGA accelerator. " + DISCLAIMER,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

data_app = typer.Typer(help="Look at X-rays, or fetch public ones.", no_args_is_help=True)
app.add_typer(data_app, name="data")


def _given_path(text: str) -> Path:
    """Return a path; an empty one, as of a shell's variable that is not set, would mean the current folder."""
    if not text:
        raise ConfigError("--data is empty, expected a folder, zip, .npz or table; the current folder is '.'.")
    return Path(text)


ExperimentFile = Annotated[Path, typer.Argument(help="Experiment file (YAML).", show_default=False)]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        parser=_given_path,
        metavar="PATH",
        help="Folder, zip, .npz or CSV of X-rays; replaces the experiment's source.",
    ),
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the run folders.")]
Strict = Annotated[bool, typer.Option("--strict", help="An unreadable image is an error.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Any field, as build.stream_bits=32; label=x is data.label; repeatable."
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the run; replaces the experiment's.")]
AnotherBoard = Annotated[str | None, typer.Option("--board", help="Board to build for; replaces the experiment's.")]


def _clock(value: float | None) -> float | None:
    """Refuse what is no clock; of nan, a range of Typer's says that it is too great."""
    if value is not None and not 1 <= value <= 1000:
        raise ConfigError(f"--clock-mhz is {value:g}, expected 1 to 1000 MHz.")
    return value


Clock = Annotated[
    float | None,
    typer.Option("--clock-mhz", help="Clock, 1 to 1000 MHz; replaces 'build.clk_ns'.", callback=_clock),
]


def _about_no_board(param: typer.CallbackParam, value: str | None) -> None:
    if value is not None:
        raise ConfigError(
            f"{param.opts[0]} is about hardware, which this command neither reads nor makes: the same for every "
            "board and clock. Leave it out here, and give it to `cxrflow build` or `cxrflow run`."
        )


NoBoard = Annotated[str | None, typer.Option("--board", hidden=True, callback=_about_no_board)]
NoClock = Annotated[str | None, typer.Option("--clock-mhz", hidden=True, callback=_about_no_board)]
Format = Annotated[str, typer.Option("--format", help=HELP)]
Vector = Annotated[
    Path | None, typer.Option("--figures", help="Also write the curves as SVG and PDF into this folder.")
]
Idle = Annotated[float, typer.Option("--idle-minutes", help="How long Vivado may be silent.", min=0.001, max=1e6)]
Wave = Annotated[
    Path | None, typer.Option("--wave", help="Waveform of the first images, FST, and views for GTKWave, Surfer.")
]


def _run(
    file: Path,
    data: Path | None,
    runs: Path,
    strict: bool = False,
    name: str | None = None,
    board: str | None = None,
    fields: Sequence[str] | None = None,
    clock_mhz: float | None = None,
) -> "Run":
    """Load the experiment. The import takes most of a second, so only commands that need it do it."""
    expect_imports()
    from cxrflow.experiment import load_experiment
    from cxrflow.stages import Run

    experiment = load_experiment(
        file, data=data, strict=strict, name=name, board=board, clock_mhz=clock_mhz, fields=fields or ()
    )
    spare([runs / experiment.name], experiment.data.files, option="--runs")
    return Run(experiment, runs, Console())


def _stage_command(name: str, more: str = "") -> Callable[[Command], Command]:
    """Make a function the command of a stage; its help is what the table says that the stage does, and `more`."""
    return app.command(name, help=f"{STAGES[name].does} {more}".strip())


def _stage(run: "Run", name: str, work: Callable[[], bool] | None = None) -> None:
    """Run one stage, by its own method where it has one, and say how long it took or that nothing changed."""
    start = time.perf_counter()
    ran = run.make(name) if work is None else work()
    run.console.detail(f"{name}: {duration(time.perf_counter() - start) if ran else 'nothing changed'}")


def _show(run: "Run", *tables: Any) -> None:
    for table in tables:
        if table is not None:
            run.console.out.print(table)


@contextlib.contextmanager
def _extra(name: str, whose: str) -> Iterator[None]:
    """Say which extra has the packages that the imports inside miss."""
    try:
        yield
    except ImportError as err:
        raise ConfigError(
            f"{whose} packages are missing ({err.name}), expected the extra '{name}'. "
            f"Run `pip install cxrflow[{name}]`."
        ) from err


def _print(figures: Figures, form: str, *, title: str = "", made: str = "") -> None:
    """Print figures in one of `formats`; what else was `made` goes where it disturbs no program that reads them."""
    from cxrflow import summary

    console = Console()
    if form == "table":
        console.out.print(summary.figures_table(figures, title=title))
        if made:
            print(f"{made}. {DISCLAIMER}")
    else:
        print(text_of(figures, form), end="")
        console.detail(f"{made}. {DISCLAIMER}" if made else DISCLAIMER)


def _facts(run: "Run", *stages: str) -> "Facts":
    """Return what the run's folder says of some of its stages."""
    from cxrflow.report.facts import collect

    return collect(run.folder, *stages, board=run.experiment.build.board)


def _show_metrics(run: "Run") -> None:
    from cxrflow import summary

    metrics = _facts(run, "train").metrics
    assert metrics is not None
    _show(run, summary.metrics_table(metrics))


@data_app.command("check")
def data_check(
    file: Annotated[Path | None, typer.Argument(help="Experiment file (YAML).", show_default=False)] = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    strict: Strict = False,
    fields: Fields = None,
    figure: Annotated[Path | None, typer.Option("--figure", help="Draw to this file: .png, .svg or .pdf.")] = None,
    board: NoBoard = None,
    clock_mhz: NoClock = None,
) -> None:
    """Show what is in the data: counts, sizes, modes, duplicates, patient overlap, unreadable images; and draw it."""
    from cxrflow import summary
    from cxrflow.data_check import draw, survey_source
    from cxrflow.experiment import data_of, load_experiment
    from cxrflow.stages import load_source
    from qnn.spec import NetworkSpec

    console = Console()
    if file is not None:
        experiment = load_experiment(file, data=data, strict=strict, fields=fields or ())
        if experiment.model is not None:
            raise ConfigError(
                f"{file} is of an imported network, which has no X-rays. Give the experiment of a training."
            )
        config, network = experiment.data, experiment.network
    elif data is not None:
        config, network = data_of(data, strict=strict, fields=fields or ()), NetworkSpec()
    else:
        raise ConfigError("neither an experiment nor --data was given, expected one of them. Give what to look at.")
    if figure is not None:
        spare([figure], [*config.files, *config.named(figure), *([] if file is None else [file])], option="--figure")
    spare([runs], config.files, option="--runs")
    loaded = load_source(config, height=network.height, width=network.width, cache=runs / ".cache", console=console)
    survey = None if config.source == "phantom" else survey_source(config.source, config.label_rules, console)
    for table in summary.check_tables(loaded, survey):
        console.out.print(table)
    for sentence in summary.check_sentences(loaded):
        print(sentence)
    option = "--runs" if figure is None else "--figure"
    if figure is None:
        figure = runs / "data-check" / f"{loaded.fingerprint[:12]}.png"
    with output(figure, parents=True, option=option) as partial:
        ending = figure.suffix.lower()
        draw(partial, loaded, survey, ending=ending if ending in ENDINGS else ".png")
    print(f"Figure: {figure}. {DISCLAIMER}")


Folder = Annotated[Path, typer.Option("--to", help="Folder to fetch into.")]
fetch_app = typer.Typer(help="Fetch a public data set, with checksum and licence.", no_args_is_help=True)
data_app.add_typer(fetch_app, name="fetch")


@fetch_app.command()
def pneumoniamnist(
    size: Annotated[int, typer.Option("--size", help="28, 64, 128 or 224 pixels a side.")] = 28,
    to: Folder = Path("xrays"),
) -> None:
    """PneumoniaMNIST: the release's images, cropped and shrunk; one .npz of 4 to 214 MB."""
    from datasets.fetch import PNEUMONIAMNIST

    if size not in PNEUMONIAMNIST:
        sizes = ", ".join(map(str, PNEUMONIAMNIST))
        raise ConfigError(f"--size is {size}, but PneumoniaMNIST comes in {sizes} pixels. Choose one of these.")
    _fetch(PNEUMONIAMNIST[size], to)


@fetch_app.command()
def kermany(to: Folder = Path("xrays")) -> None:
    """The public release in full size, ChestXRay2017.zip of about 1.2 GB. No checksum of it is known."""
    from datasets.fetch import KERMANY

    _fetch(KERMANY, to)


def _fetch(published: "Published", to: Path) -> None:
    """Fetch, and say under which licence and how to use it."""
    from datasets.fetch import about, fetch

    console = Console()
    print(about(published), end="")
    with console.progress("fetching, kB") as progress:
        path = fetch(
            published, to, progress=lambda done, total: progress(done // 1000, total // 1000), say=console.detail
        )
    print(f"sha256 and licence: {path}.txt. Use it with --data {path}")


@_stage_command("train", "Ctrl-C keeps the best network; the same command resumes.")
def train(
    file: ExperimentFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    strict: Strict = False,
    fields: Fields = None,
    board: AnotherBoard = None,
    clock_mhz: Clock = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=2, max=100, help="Train that many times, as NAME-seed0 and so on, and show mean and spread."),
    ] = None,
) -> None:
    """The stage of this name, or many of them."""
    first = _run(file, data, runs, strict, board=board, fields=fields, clock_mhz=clock_mhz)
    for doubt in first.doubts():
        first.console.warn(doubt)
    if seeds is not None:
        _train_seeds(first, seeds, file, data, strict)
        return
    _train_before(first, file, data, strict)
    with first.locked() as run:
        _stage(run, "train", run.train)
        _show_metrics(run)


def _train_before(
    run: "Run",
    file: Path,
    data: Path | None,
    strict: bool,
    *,
    number: int | None = None,
    behind: frozenset[str] = frozenset(),
) -> None:
    """Train the runs that a training builds on by name, where they are missing and their files lie beside its own.

    With a `number`, all are those of this number of --seeds.
    """
    behind |= {run.experiment.name}
    for name in run.untrained():
        beside = file.with_name(f"{name.removesuffix('' if number is None else f'-seed{number}')}.yaml")
        if name in behind or not beside.is_file():
            continue  # the training says what is missing
        other = _run(beside, data, run.runs, strict)
        if number is not None:
            other = replace(other, experiment=other.experiment.seeded(number))
        if other.experiment.name == name:
            run.console.detail(f"{name}, of {beside}, comes first")
            _train_before(other, beside, data, strict, number=number, behind=behind)
            with other.locked():
                _stage(other, name, other.train)


def _train_seeds(first: "Run", seeds: int, file: Path, data: Path | None, strict: bool) -> None:
    """Train runs that differ in their seeds, of the training and of the validation split."""
    from cxrflow import summary
    from cxrflow.stages import Run

    tests = []
    for number in range(seeds):
        run = Run(first.experiment.seeded(number), first.runs, first.console)
        _train_before(run, file, data, strict, number=number)
        with run.locked():
            _stage(run, run.experiment.name, run.train)
            tests.append(_facts(run, "train").test)
    _show(first, summary.seeds_table(first.experiment.name, [test for test in tests if test is not None]))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A trained run: its name or folder.", show_default=False)],
    data: Data = None,
    runs: Runs = Path("runs"),
    strict: Strict = False,
    fields: Fields = None,
    every: Annotated[bool, typer.Option("--all", help="All images, not the test images only.")] = False,
    shifts: Annotated[
        bool, typer.Option("--shifts", help="Also rotated, scaled, brighter, noisy, compressed.")
    ] = False,
    board: NoBoard = None,
    clock_mhz: NoClock = None,
) -> None:
    """Measure a trained run on any X-rays: intervals over patients, operating points, calibration."""
    from contract.record import read_record
    from cxrflow import summary
    from cxrflow.experiment import require_classes
    from cxrflow.stages import referred_run
    from qnn.records import ClassEvaluation, Evaluation

    folder = referred_run(run, runs)
    file = folder / "experiment.yaml"
    require_classes(file, fields or ())
    with _run(file, data, folder.parent, strict, folder.name, fields=fields).locked() as trained:
        out = trained.evaluate(everything=every, with_shifts=shifts)
        file, several = out / "evaluation.json", trained.experiment.network.outputs > 1
        found = read_record(file, ClassEvaluation) if several else read_record(file, Evaluation)
        _show(trained, *summary.evaluation_tables(found))
        print(out)


@_stage_command("export")
def export(
    file: ExperimentFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    strict: Strict = False,
    fields: Fields = None,
    board: AnotherBoard = None,
    clock_mhz: Clock = None,
) -> None:
    """The stage of this name."""
    from cxrflow import summary

    with _run(file, data, runs, strict, board=board, fields=fields, clock_mhz=clock_mhz).locked() as run:
        _stage(run, "export")
        _show(run, summary.chain_table(_facts(run, "export")))


@_stage_command("import")
def import_network(
    model: Annotated[Path, typer.Argument(help="Quantized network, ONNX: QONNX or QCDQ.", show_default=False)],
    name: Annotated[str, typer.Option("--name", help="Name of the run.", show_default=False)],
    fed: Annotated[
        str | None,
        typer.Option("--input", help="What is fed: float, uint8, int8, bipolar, ...; else what the file says."),
    ] = None,
    scale: Annotated[float, typer.Option("--input-scale", help="The file reads this times the integers fed.")] = 1.0,
    samples: Annotated[
        Path | None, typer.Option("--samples", help=".npz (`x`), .npy, JSON, CSV of inputs to compare on.")
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help=".npz with the classes `y` of the samples.")] = None,
    board: Annotated[str, typer.Option("--board", help="The board to build for.")] = "pynq-z2",
    target_fps: Annotated[int, typer.Option("--target-fps", min=1, help="Images per second to build for.")] = 1000,
    clock_mhz: Clock = None,
    fields: Fields = None,
    runs: Runs = Path("runs"),
) -> None:
    """The stage of this name."""
    from cxrflow import summary
    from cxrflow.experiment import imported_experiment
    from cxrflow.report.facts import import_sentences
    from cxrflow.stages import Run

    given = {"file": model, "input": fed, "input_scale": scale, "samples": samples, "labels": labels}
    built = {"board": board, "target_fps": target_fps} | ({} if clock_mhz is None else {"clk_ns": 1e3 / clock_mhz})
    experiment = imported_experiment(name, given, built, fields=fields or ())
    with Run(experiment, runs, Console()).locked() as run:
        _stage(run, "import", run.make_import)
        facts = _facts(run, "import")
        _show(run, summary.chain_table(facts))
        for sentence in import_sentences(facts):
            print(sentence)
        again = f"{run.folder / 'experiment.yaml'}{'' if runs == Path('runs') else f' --runs {runs}'}"
        print(f"Go on with `cxrflow run {again}`. {DISCLAIMER}")


@_stage_command("build")
def build(
    file: ExperimentFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    fields: Fields = None,
    board: AnotherBoard = None,
    clock_mhz: Clock = None,
) -> None:
    """The stage of this name."""
    from cxrflow import summary

    with _run(file, data, runs, board=board, fields=fields, clock_mhz=clock_mhz).locked() as run:
        _stage(run, "build")
        _show(run, summary.hardware_table(_facts(run, *HARDWARE)))


@_stage_command("simulate")
def simulate(
    file: ExperimentFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    wave: Wave = None,
    fields: Fields = None,
    board: AnotherBoard = None,
    clock_mhz: Clock = None,
) -> None:
    """The stage of this name."""
    from cxrflow import summary

    first = _run(file, data, runs, board=board, fields=fields, clock_mhz=clock_mhz)
    if wave is not None:
        _spare_wave(first, wave, file)
    with first.locked() as run:
        _stage(run, "simulate", lambda: run.simulate(wave=wave))
        facts = _facts(run, *INTEGERS, *HARDWARE)
        _show(run, summary.chain_table(facts), summary.hardware_table(facts))


def _spare_wave(run: "Run", wave: Path, file: Path) -> None:
    """Stop before the waveform, or what viewers open with it, would replace what the run reads. Raises ConfigError."""
    from finn_build.wave_view import view_files

    for path in (wave, *view_files(wave)):
        run.spare(path, file, option="--wave")


@_stage_command("synth", "Vivado, with --tool, also routes it alone.")
def synth(
    file: ExperimentFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    tool: Annotated[str, typer.Option("--tool", help="yosys, or vivado.")] = "yosys",
    gates: Annotated[bool, typer.Option("--gates", help="Also simulate Yosys' netlist on golden images.")] = False,
    idle_minutes: Idle = 30.0,
    fields: Fields = None,
    board: AnotherBoard = None,
    clock_mhz: Clock = None,
) -> None:
    """The stage of this name, and its like by other tools."""
    if tool not in ("yosys", "vivado"):
        raise ConfigError(f"'{tool}' is not a known tool, expected yosys or vivado.")
    from cxrflow import summary

    with _run(file, data, runs, board=board, fields=fields, clock_mhz=clock_mhz).locked() as run:
        if tool == "vivado":
            _stage(run, "synth", lambda: run.make("synth_vivado", idle_minutes=idle_minutes))
            _show(run, summary.vivado_table(_facts(run, "build", "synth", "synth_vivado")))
        else:
            _stage(run, "synth", run.synth)
            facts = _facts(run, "build", "synth")
            _show(run, summary.synth_table(facts), summary.levels_table(facts))
        if gates:
            _stage(run, "gates")
            _show(run, summary.chain_table(_facts(run, *INTEGERS, "build", "simulate", "gates")))


@_stage_command("package")
def package(
    file: ExperimentFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    fields: Fields = None,
    board: AnotherBoard = None,
    clock_mhz: Clock = None,
) -> None:
    """The stage of this name."""
    with _run(file, data, runs, board=board, fields=fields, clock_mhz=clock_mhz).locked() as run:
        _stage(run, "package", run.package)
        print(run.place("package"))


@app.command()
def bitstream(
    file: ExperimentFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    name: Name = None,
    fields: Fields = None,
    board: AnotherBoard = None,
    clock_mhz: Clock = None,
    shell: Annotated[str, typer.Option("--shell", help="axi_dma (plain Vivado) or finn_iodma (Docker).")] = "axi_dma",
    idle_minutes: Idle = 30.0,
) -> None:
    """Everything up to a checked bitstream and its deploy folder; without Vivado, everything up to Vivado (code 3)."""
    from cxrflow import summary
    from cxrflow.stages import require_shell

    require_shell(shell)
    with _run(file, data, runs, name=name, board=board, fields=fields, clock_mhz=clock_mhz).locked() as run:
        for warning in run.foresee():
            run.console.warn(warning)
        for stage, work in run.front():
            _stage(run, stage, work)
        for stage in ("build", "simulate", "ip"):
            _stage(run, stage)
        _stage(run, "bitstream", lambda: run.bitstream(shell=shell, idle_minutes=idle_minutes))
        _stage(run, "package", run.package)
        _show(run, summary.vivado_table(_facts(run, "build", "synth", "bitstream")))
        print(run.place("package"))


@app.command("run")
def run_all(
    file: ExperimentFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    strict: Strict = False,
    fields: Fields = None,
    wave: Wave = None,
    name: Name = None,
    board: AnotherBoard = None,
    clock_mhz: Clock = None,
) -> None:
    """Everything: data, training, export, RTL, simulation, package."""
    from cxrflow import summary

    first = _run(file, data, runs, strict, name, board, fields, clock_mhz)
    if wave is not None:
        _spare_wave(first, wave, file)
    for warning in first.foresee():
        first.console.warn(warning)
    _train_before(first, file, data, strict)
    with first.locked() as run:
        if not run.imported:
            _show(run, summary.data_table(run.data()))
        for stage, work in run.front():
            _stage(run, stage, work)
            if stage == "train":
                _show_metrics(run)
        _stage(run, "build")
        _stage(run, "simulate", lambda: run.simulate(wave=wave))
        _stage(run, "package", run.package)
        facts = _facts(run, *INTEGERS, *HARDWARE, "gates", "package")
        _show(run, summary.chain_table(facts), summary.hardware_table(facts), summary.synth_table(facts))
        print(f"Everything is in {run.folder}; look at {_report(run.folder)}. {DISCLAIMER}")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A run, its name or folder, or a deploy folder.", show_default=False)],
    runs: Runs = Path("runs"),
    junit: Annotated[Path | None, typer.Option("--junit", help="Also write the outcomes to this XML file.")] = None,
    artifacts: Annotated[
        Path, typer.Option("--artifacts", help="Folder for tensors and waveform of a difference; made only for one.")
    ] = Path("verify-failed"),
    require: Annotated[
        list[str] | None, typer.Option("--require", metavar="STAGE", help="Fail where it cannot run; repeatable.")
    ] = None,
    gates: Annotated[bool, typer.Option("--gates", help="Also synthesise, and simulate the netlist.")] = False,
) -> None:
    """Hold every stage against the golden integers again, without training; a line per stage. Code 1: they differ."""
    from cxrflow.stages import referred_run
    from cxrflow.verify import FAILED, NOT_RUN, checks_of, exit_code, write_junit
    from cxrflow.verify import verify as outcomes_of

    named = referred_run(folder, runs)
    if not (folder / "accelerator.json").exists() and (named.exists() or not folder.exists()):
        folder = named
    spare([artifacts, *([] if junit is None else [junit])], [folder], option="--artifacts or --junit")
    outcomes = []
    with checks_of(folder, keep=artifacts, gates=gates) as checks:
        for outcome in outcomes_of(checks, require=require or ()):
            print(f"{outcome.result:8}{outcome.stage:22}{shown(outcome.said)}  [{outcome.seconds:.1f} s]", flush=True)
            outcomes.append(outcome)
    if junit is not None:
        write_junit(junit, folder.name, outcomes)
    failed, left = (sum(one.result == kind for one in outcomes) for kind in (FAILED, NOT_RUN))
    seconds = sum(one.seconds for one in outcomes)
    print(f"{len(outcomes) - failed - left} passed, {left} not run, {failed} failed in {seconds:.1f} s. {DISCLAIMER}")
    if code := exit_code(outcomes):
        raise typer.Exit(code)


def _report(folder: Path) -> Path:
    from cxrflow.report.page import write_report

    return write_report(folder)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run: its name or folder.", show_default=False)],
    runs: Runs = Path("runs"),
    to: Vector = None,
) -> None:
    """Write report.html of a run, finished or not: one file to look at, print and send."""
    from cxrflow.report.facts import collect
    from cxrflow.report.page import write_figures
    from cxrflow.report.view import tested_plots, training_plots
    from cxrflow.stages import referred_run

    folder = referred_run(run, runs)
    a_run = (folder / "experiment.yaml").is_file()
    with locked(folder) if a_run else contextlib.nullcontext():  # no lock is left for what is no run
        if to is not None:
            spare([to], parts_of(folder), option="--figures")
        print(f"{_report(folder)}. {DISCLAIMER}")
        if to is not None:
            facts = collect(folder)
            write_figures([*training_plots(facts), *tested_plots(facts)], to, option="--figures")


@app.command()
def compare(
    run: Annotated[list[Path], typer.Argument(help="Two or more runs: names or folders.", show_default=False)],
    runs: Runs = Path("runs"),
    out: Annotated[Path | None, typer.Option("--out", help="The page; RUNS/compare.html if not given.")] = None,
    form: Format = "table",
    to: Vector = None,
) -> None:
    """Put runs side by side: a table here, and a page with figures."""
    from cxrflow.report.compare import figures, plots, require_some
    from cxrflow.report.facts import collect, each
    from cxrflow.report.page import write_comparison, write_figures
    from cxrflow.stages import referred_run

    require(form)
    require_some(run)
    folders = [referred_run(path, runs) for path in run]
    for path, option in ((out, "--out"), (to, "--figures")):
        if path is not None:
            spare([path], [part for folder in folders for part in parts_of(folder)], option=option)
    found, damaged = each(folders, collect)
    if found:
        option = "--runs" if out is None else "--out"
        page = write_comparison(found, out or runs / "compare.html", option=option)
        if to is not None:
            write_figures(plots(found), to, option="--figures")
        _print(figures(found), form, made=str(page))
    _tell(damaged)


@app.command()
def sensitivity(
    run: Annotated[Path, typer.Argument(help="A trained run: its name or folder.", show_default=False)],
    retrain: Annotated[int, typer.Option("--retrain", min=0, max=10_000, help="Epochs of training at each point.")] = 0,
    bits: Annotated[str, typer.Option("--bits", help="Widths to try.")] = "8,7,6,5,4,3,2,1",
    lut: Annotated[int | None, typer.Option(min=1, help="Budget of the proposal.")] = None,
    bram18: Annotated[int | None, typer.Option(min=0, help="Budget of the proposal.")] = None,
    dsp: Annotated[int | None, typer.Option(min=0, help="Budget of the proposal.")] = None,
    loss: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Else: validation AUC that the proposal may lose; 0.002 if not given."),
    ] = None,
    write: Annotated[Path | None, typer.Option("--write", help="Write the proposal to this experiment file.")] = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    workers: Annotated[int, typer.Option(min=1, help="Points at a time, each on one thread.")] = os.cpu_count() or 1,
    address: Annotated[str | None, typer.Option(help="Ray cluster to run on, as in `ray start`.")] = None,
    form: Format = "table",
) -> None:
    """How many bits each layer needs: validation AUC, LUTs, BRAM and DSPs of each in other widths, and a proposal."""
    from cxrflow.stages import referred_run
    from cxrflow.sweep.spec import Limits

    with _extra("sweep", "a sweep's"):
        from cxrflow.sensitivity import command

    require(form)
    limits = Limits(lut=lut, bram18=bram18, dsp=dsp)
    if loss is not None and limits != Limits():
        raise ConfigError("--loss and --lut, --bram18 or --dsp were given, expected one kind of budget. Leave one out.")
    asked = command.Asked(command.parse_bits(bits), retrain, limits, 0.002 if loss is None else loss)
    folder = referred_run(run, runs)
    trained = _run(folder / "experiment.yaml", data, folder.parent, name=folder.name)
    if write is not None:
        trained.spare(write, option="--write")
    found = command.study(trained, asked, workers=workers, address=address)
    shown = command.columns(found.rows)
    rows = [[command.text(name, row.get(name)) for name in shown] for row in found.rows]
    records = [{shown[name]: row.get(name) for name in shown} for row in found.rows]
    headings = list(shown.values())
    _print(Figures(headings, rows, records, text=headings[:1]), form, title=f"{folder.name}, one width changed")
    for sentence in command.sentences(found, asked):
        print(sentence, file=sys.stdout if form == "table" else sys.stderr)
    if write is not None and found.proposal is not None:
        command.save_proposal(write, found.proposal)
        print(
            f"Train it with `cxrflow train {write}`. {DISCLAIMER}", file=sys.stdout if form == "table" else sys.stderr
        )
    if found.proposal is None:
        raise typer.Exit(1)


class _Sweeps(TyperGroup):
    """`cxrflow sweep FILE` is `cxrflow sweep run FILE`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take what is no command for the file of a sweep to run."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])


sweep_app = typer.Typer(
    cls=_Sweeps, help="Many runs, accuracy against hardware. SWEEP.yaml runs one.", no_args_is_help=True
)
app.add_typer(sweep_app, name="sweep")
SweepFolder = Annotated[Path, typer.Argument(help="Folder of a sweep, runs/NAME.", show_default=False)]


@sweep_app.command("run")
def sweep_run(
    file: Annotated[Path, typer.Argument(help="Sweep file (YAML).", show_default=False)],
    data: Data = None,
    runs: Runs = Path("runs"),
    workers: Annotated[int, typer.Option(min=1, help="Trials at a time, each on one thread.")] = os.cpu_count() or 1,
    address: Annotated[str | None, typer.Option(help="Ray cluster to run on, as in `ray start`.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Also a grid of more than 10,000 runs.")] = False,
    fields: Fields = None,
    form: Format = "table",
) -> None:
    """Run what is left of a sweep: train, compile, then Yosys for the front; table, figures and sweep.html."""
    with _extra("sweep", "a sweep's"):
        from cxrflow.sweep import command

    require(form)
    console = Console()
    found = command.run(
        file,
        runs=runs,
        data=data,
        workers=workers,
        address=address,
        yes=yes,
        fields=fields or (),
        console=console,
    )
    _show_points(*found, form)


@sweep_app.command("show")
def sweep_show(folder: SweepFolder, form: Format = "table") -> None:
    """Make table, figures and page again from what is in a sweep's folder: nothing is trained or synthesised."""
    with _extra("sweep", "a sweep's"):
        from cxrflow.sweep import command

    require(form)
    _show_points(folder, *command.show(folder, Console()), form)


@sweep_app.command("select")
def sweep_select(
    folder: SweepFolder,
    on: Annotated[str, typer.Option("--on", help="What chooses: validation.")] = "validation",
    top: Annotated[int | None, typer.Option(min=1, help="The best so many of the front only.")] = None,
    form: Format = "table",
) -> None:
    """Look at the test images, for the points that validation images chose: those on the front."""
    with _extra("sweep", "a sweep's"):
        from cxrflow.sweep import command

    if on != "validation":
        raise ConfigError(f"--on is {on}, expected validation: test images choose nothing.")
    require(form)
    _show_points(folder, *command.select(folder, top=top, console=Console()), form)


@sweep_app.command("refit")
def sweep_refit(folder: SweepFolder) -> None:
    """Fit the cost model again on all layers of a sweep that Yosys has synthesised, and print its error."""
    with _extra("sweep", "a sweep's"):
        from cxrflow.sweep import command

    print(command.refit(folder).sentence())


def _show_points(folder: Path, points: list[dict[str, Any]], damaged: Sequence[CxrflowError], form: str) -> None:
    from cxrflow.sweep.page import PAGE, table

    if points:
        _print(table(points), form, title="The front", made=str(folder / PAGE))
    _tell(damaged)


@app.command()
def results(
    runs: Runs = Path("runs"),
    seeds: Annotated[bool, typer.Option("--seeds", help="Mean and spread of what `train --seeds` made.")] = False,
    form: Format = "markdown",
) -> None:
    """Print a table of all finished runs; in Markdown if no other format is asked for."""
    from cxrflow import summary
    from cxrflow.report.facts import finished, trained

    require(form)
    if seeds:
        tests, damaged = trained(runs)
        figures = summary.seeds_figures(tests)
    else:
        found, damaged = finished(runs)
        figures = summary.results_figures(found)
    if not figures.rows and not damaged:
        missing = (
            "NAME-seed folders in it. Run `cxrflow train --seeds 5`"
            if seeds
            else "deploy folders in it. Run `cxrflow run`"
        )
        raise ConfigError(f"{runs} holds no finished run, expected {missing} first.")
    if figures.rows:
        _print(figures, form)
    _tell(damaged)


def _tell(damaged: Sequence[CxrflowError]) -> None:
    """Say what is wrong with some runs after the others were shown; end with the first one's code."""
    for message in dict.fromkeys(map(str, damaged)):
        Console().error(message)
    if damaged:
        raise typer.Exit(damaged[0].exit_code)


@app.command()
def infer(
    folder: Annotated[Path, typer.Argument(help="Deploy folder, the one with accelerator.json.", show_default=False)],
    images: Annotated[
        list[Path], typer.Argument(help="X-ray images or files of values, or folders of them.", show_default=False)
    ],
    device: Annotated[str, typer.Option(help="auto, board, sim or cpu.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write the answers to this file.")] = None,
    point: Annotated[
        str | None, typer.Option("--point", help="Name of an operating point; the run's own if none.")
    ] = None,
) -> None:
    """Answer for X-rays on a device; every device gives the same integers, and must prove it first."""
    from cxrflow import summary
    from cxrflow.infer import infer_files
    from driver.__main__ import spare_for_table

    if csv is not None:
        spare_for_table(csv, folder, images)
    results, failures, used, at, points = infer_files(folder, images, device=device, point=point, table=csv)
    table = partial(summary.infer_table, points=points)
    _show_answers(results, failures, used, table=table, as_json=as_json, operating_point=at)


def _show_answers(
    rows: list[dict[str, Any]],
    failures: dict[str, str],
    used: str,
    *,
    table: Callable[..., Any],
    as_json: bool,
    **beside: object,
) -> None:
    """Show a row per image that a device answered for, and an error per file; JSON has what is `beside` them, too."""
    console = Console()
    if as_json:
        print(
            json.dumps({"note": DISCLAIMER, "device": used, **beside, "results": rows, "failures": failures}, indent=2)
        )
    elif rows:
        console.out.print(table(rows, device=used))
    for message in failures.values():
        console.error(message)
    if failures:
        raise typer.Exit(1)


@app.command()
def explain(
    folder: Annotated[Path, typer.Argument(help="Deploy folder, the one with accelerator.json.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="X-ray images, or folders of them.", show_default=False)],
    device: Annotated[str, typer.Option(help="auto, board, sim or cpu.")] = "auto",
    out: Annotated[Path, typer.Option("--out", help="Folder for the overlays and arrays.")] = Path("explained"),
    fill: Annotated[str, typer.Option(help="What covers the image: mirror (the other side) or mean.")] = "mirror",
    target: Annotated[
        str | None, typer.Option("--class", help="Name or number of the class to map; the answer's if not given.")
    ] = None,
    point: Annotated[
        str | None, typer.Option("--point", help="Operating point of the answer; the run's own if none.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what speaks for and against in X-rays: the device answers for copies with a part covered, in one batch."""
    from cxrflow import summary
    from driver.__main__ import expand, spare_for_maps
    from driver.accelerator import Accelerator
    from driver.explain import explain_files, explained_row

    spare_for_maps(out, folder, images)
    make_folder(out, option="--out")
    with Accelerator(folder, device) as accelerator, writing(out, option="--out"):
        explained, failures = explain_files(accelerator, expand(images), out, fill=fill, target=target, point=point)
        used = accelerator.device
    rows = [explained_row(done) for done in explained]
    _show_answers(rows, failures, used, table=summary.explain_table, as_json=as_json)


@app.command()
def serve(
    paths: Annotated[list[Path] | None, typer.Argument(help="Runs or deploy folders; all of --runs if none.")] = None,
    runs: Runs = Path("runs"),
    device: Annotated[list[str] | None, typer.Option(help="auto, board, sim, cpu; repeat it, or leave it out.")] = None,
    host: Annotated[str, typer.Option(help="Address to bind to; other than loopback needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    token: Annotated[str | None, typer.Option(help="What the API asks for; 16 characters or more.")] = None,
) -> None:
    """A page and an API for X-rays or values, in the browser: nothing uploaded is written to disk or logged."""
    with _extra("serve", "the web server's"):
        from cxrflow.serve.start import serve as run_server
    console = Console()

    def say(address: str) -> None:
        print(f"{address}\n{DISCLAIMER}", flush=True)
        console.detail("Ctrl-C ends it.")

    given: dict[str, Any] = {"devices": device or [], "host": host, "port": port, "token": token}
    run_server(paths or [], runs, **given, say=say, left_out=lambda why: console.detail(f"Left out: {why}"))


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help="Of which file: experiment, or sweep.")] = "experiment",
    form: Annotated[str, typer.Option("--format", help="json, or markdown: the reference of both files.")] = "json",
) -> None:
    """Print the JSON schema of an experiment or a sweep file, by which editors complete and check."""
    from cxrflow import schema as made

    if kind not in made.KINDS:
        raise ConfigError(f"'{kind}' is no kind of file, expected {' or '.join(made.KINDS)}.")
    if form not in ("json", "markdown"):
        raise ConfigError(f"--format is {form}, expected json or markdown.")
    print(json.dumps(made.schema(kind), indent=2) if form == "json" else made.page(), end="\n" * (form == "json"))


@app.command()
def registers(
    shell: Annotated[str | None, typer.Option("--shell", help="axi_dma or finn_iodma; both if not given.")] = None,
    header: Annotated[bool, typer.Option("--header", help="A C header instead of the page; needs --shell.")] = False,
) -> None:
    """Print the register map of the shells around an accelerator, as a page or as a C header."""
    from cxrflow.c_header import shell_header
    from cxrflow.register_page import page, section
    from cxrflow.stages import require_shell

    if shell is not None:
        require_shell(shell)
    elif header:
        raise ConfigError("--header is of one shell. Give --shell axi_dma or --shell finn_iodma, too.")
    print(page() if shell is None else shell_header(shell) if header else section(shell), end="")


@app.command()
def doctor() -> None:
    """Show what is installed, what is missing and what it would enable."""
    from cxrflow import summary
    from cxrflow.doctor import examine

    findings = examine()
    Console().out.print(summary.doctor_table(findings))
    if any(finding.required and finding.found is None for finding in findings):
        raise typer.Exit(1)


def _add_plain_commands() -> None:
    """Give every stage of the table that has no command above one that makes it and prints its folder."""
    here = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for name, stage in STAGES.items():
        if stage.command == name and name not in here:
            app.command(name, help=stage.does)(_plain(name))


def _plain(name: str) -> Callable[..., None]:
    def make(
        file: ExperimentFile,
        data: Data = None,
        runs: Runs = Path("runs"),
        fields: Fields = None,
        board: AnotherBoard = None,
        clock_mhz: Clock = None,
    ) -> None:
        with _run(file, data, runs, board=board, fields=fields, clock_mhz=clock_mhz).locked() as run:
            _stage(run, name)
            print(run.place(name))

    return make


_add_plain_commands()


def main() -> None:
    """Run the command line; a user's mistake is one message, a bug keeps its traceback."""
    print_anything()
    with contextlib.suppress(OSError):  # PyTorch, whose compiler nobody uses, makes a folder for it in there otherwise
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.gettempdir())
    heard = _heed_signals()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where it is one sentence that there is no room for it
    except CxrflowError as err:
        _stop(err)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == INTERRUPTED or (stop.code and heard):  # Typer says it so, a check that it made fail not
            _say_interrupted()
            sys.exit(INTERRUPTED)
        raise
    except Exception as err:
        if heard:  # somebody's `except:` took it for an error of theirs, as around an import
            _say_interrupted()
            sys.exit(INTERRUPTED)
        if not isinstance(err, OSError) or not refuses(err):
            raise
        _stop(unusable(err))


def _heed_signals() -> list[int]:
    """Take being terminated like Ctrl-C: what we started ends, and what is half done goes.

    Returns:
        The signals that came, to which they are added.
    """
    heard: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, stop)
    return heard


def _say_interrupted() -> None:
    Console().error("interrupted. Run the same command again: stages that were finished are not made again.")


def _stop(err: CxrflowError) -> NoReturn:
    Console().error(str(err))
    sys.exit(err.exit_code)


if __name__ == "__main__":
    main()
