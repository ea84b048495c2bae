"""The command line. Each command is a thin shell around one function."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from contract.errors import CxrflowError
from contract.manifest import DISCLAIMER
from cxrflow import summary
from cxrflow.console import Console

app = typer.Typer(
    help="Chest X-rays to a bit-exact FPGA accelerator. " + DISCLAIMER,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ExperimentFile = Annotated[Path, typer.Argument(help="Experiment file (YAML).", show_default=False)]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder {train,test}/{NORMAL,PNEUMONIA}; replaces the experiment's source."),
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the run folders.")]
Strict = Annotated[bool, typer.Option("--strict", help="An unreadable image is an error.")]
Wave = Annotated[Path | None, typer.Option("--wave", help="Write the first images' waveform to this FST file.")]


def _run(file: Path, data: Path | None, runs: Path, strict: bool = False) -> Any:
    """Load the experiment; importing what it needs takes seconds, so only commands that need it do."""
    from cxrflow.experiment import load_experiment
    from cxrflow.stages import Run

    experiment = load_experiment(file, data=data)
    if strict:
        experiment = experiment.model_copy(update={"data": experiment.data.model_copy(update={"strict": True})})
    return Run(experiment, runs, Console())


def _stages(run: Any, names: list[str], **options: Any) -> None:
    """Run stages in order and say for each how long it took or that nothing changed."""
    from cxrflow.stages import STAGES

    functions = dict(STAGES)
    with run.start():
        for name in names:
            start = time.perf_counter()
            ran = functions[name](run, **(options if name == "simulate" else {}))
            took = f"{time.perf_counter() - start:.1f} s" if ran else "nothing changed"
            run.console.detail(f"{name}: {took}")


def _show(run: Any, *tables: Any) -> None:
    for table in tables:
        if table is not None:
            run.console.out.print(table)


@app.command()
def data(file: ExperimentFile, data: Data = None, runs: Runs = Path("runs"), strict: Strict = False) -> None:
    """Load the X-rays and show what is there: counts, duplicates, unreadable images."""
    run = _run(file, data, runs, strict)
    loaded = run.data()
    _show(run, summary.data_table(loaded))
    report = loaded.report
    print(
        f"{len(report.duplicates)} images occur more than once, {len(report.unreadable)} are unreadable, "
        f"{report.train_val_patient_overlap} patients are in both train and validation, "
        f"{report.patients_in_train_and_test} in both train and test."
    )


@app.command()
def train(file: ExperimentFile, data: Data = None, runs: Runs = Path("runs"), strict: Strict = False) -> None:
    """Train the network and measure it. Ctrl-C keeps the best network; the same command resumes."""
    run = _run(file, data, runs, strict)
    _stages(run, ["train"])
    _show(run, summary.metrics_table(run.folder))


@app.command()
def export(file: ExperimentFile, data: Data = None, runs: Runs = Path("runs"), strict: Strict = False) -> None:
    """Export the trained network to QONNX and prove that it gives the same integers."""
    run = _run(file, data, runs, strict)
    _stages(run, ["export"])
    _show(run, summary.chain_table(run.folder, run.experiment.build.board))


@app.command()
def build(file: ExperimentFile, data: Data = None, runs: Runs = Path("runs")) -> None:
    """Compile the exported network to RTL with FINN, comparing integers after every step."""
    run = _run(file, data, runs)
    _stages(run, ["build"])
    _show(run, summary.hardware_table(run.folder, run.experiment.build.board))


@app.command()
def simulate(file: ExperimentFile, data: Data = None, runs: Runs = Path("runs"), wave: Wave = None) -> None:
    """Simulate the RTL, cycle by cycle, on every test image."""
    run = _run(file, data, runs)
    _stages(run, ["simulate"], wave=wave)
    board = run.experiment.build.board
    _show(run, summary.chain_table(run.folder, board), summary.hardware_table(run.folder, board))


@app.command()
def package(file: ExperimentFile, data: Data = None, runs: Runs = Path("runs")) -> None:
    """Write the deploy folder: manifest, CPU reference, golden vectors."""
    run = _run(file, data, runs)
    _stages(run, ["package"])
    print(run.deploy_folder)


@app.command("run")
def run_all(
    file: ExperimentFile, data: Data = None, runs: Runs = Path("runs"), strict: Strict = False, wave: Wave = None
) -> None:
    """Everything: data, training, export, RTL, simulation, package."""
    run = _run(file, data, runs, strict)
    board = run.experiment.build.board
    _show(run, summary.data_table(run.data()))
    _stages(run, ["train"])
    _show(run, summary.metrics_table(run.folder))
    _stages(run, ["export", "build"])
    built = summary.read(run.build_folder / "build.json")
    if built is not None and built["rtl"]:
        _stages(run, ["simulate"], wave=wave)
    elif built is not None:
        run.console.warn(
            f"no RTL: FINN maps {', '.join(built['hls_nodes'])} to HLS. The CPU reference gives the same integers."
        )
    _stages(run, ["package"])
    _show(run, summary.chain_table(run.folder, board), summary.hardware_table(run.folder, board))
    print(f"Everything is in {run.folder}. {DISCLAIMER}")


@app.command()
def infer(
    folder: Annotated[Path, typer.Argument(help="Deploy folder, the one with accelerator.json.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="X-ray images.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Run images through the CPU reference: the accelerator's integers, without the accelerator."""
    from cxrflow.infer import infer_files, results_table

    console = Console()
    results, failures = infer_files(folder, images)
    if as_json:
        print(json.dumps({"note": DISCLAIMER, "results": results, "failures": failures}, indent=2))
    elif results:
        console.out.print(results_table(results))
    for message in failures.values():
        console.error(message)
    if failures:
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Show what is installed, what is missing and what it would enable."""
    from cxrflow.doctor import examine

    findings = examine()
    Console().out.print(summary.doctor_table(findings))
    if any(finding.required and finding.found is None for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; a user's mistake is one message, a bug keeps its traceback."""
    try:
        app()
    except CxrflowError as err:
        Console().error(str(err))
        sys.exit(err.exit_code)
    except KeyboardInterrupt:
        Console().error("interrupted; finished stages are kept, run the same command again to go on.")
        sys.exit(130)


if __name__ == "__main__":
    main()
