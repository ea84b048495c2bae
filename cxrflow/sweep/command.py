"""What `cxrflow sweep` does: trials, then the front through Yosys, then table, figures and page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contract.errors import ConfigError
from cxrflow.console import Console
from cxrflow.experiment import Experiment, load_experiment
from cxrflow.runs import locked, write_whole, writing
from cxrflow.stages import Run, load_data
from cxrflow.summary import read
from cxrflow.sweep import model, page, table
from cxrflow.sweep.drive import drive
from cxrflow.sweep.spec import Sweep, load_sweep, parse_sweep
from finn_build.boards import BOARDS

COPY = "sweep.yaml"  # of the file, beside its results


def run(
    file: Path, *, runs: Path, data: Path | None, workers: int, address: str | None, yes: bool, console: Console
) -> list[dict[str, Any]]:
    """Do what is left of a sweep; return its front."""
    sweep, base = load_sweep(file, data=data, yes=yes)
    folder = runs / sweep.name
    with locked(folder), writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / COPY, file.read_text(encoding="utf-8"))
        load_data(base, cache=folder / ".cache", console=console)  # once, before the workers all want it
        drive(sweep, base, folder, workers=workers, address=address, console=console)
        return publish(sweep, folder, console)


def publish(sweep: Sweep, folder: Path, console: Console) -> list[dict[str, Any]]:
    """Synthesise the front, and write table, figures and page; return the front.

    A point on the front may leave it once Yosys has counted, and another take its place: until nothing changes.
    """
    while True:
        costs = model.load(folder)
        found = [_corrected(row, costs, folder) for row in table.rows(folder)]
        points = table.points(found)
        if not points:
            table.save(found, folder)
            raise ConfigError(_nothing(found, folder))
        front = table.front(points, sweep.limits)
        waiting = [point for point in front if "yosys_lut" not in point]
        if not waiting:
            break
        for number, point in enumerate(waiting):
            console.detail(f"synthesising point {number + 1} of {len(waiting)} on the front: {point['network']}")
            _trial(folder, point["runs"][0]).synth()
        model.fit(folder)
    table.save(found, folder)
    pictures = page.figures(points, front, folder / "figures")
    page.write_page(sweep, found, points, front, costs, pictures, folder)
    return front


def _nothing(found: Sequence[dict[str, Any]], folder: Path) -> str:
    errors = [row["error"] for row in found if row["status"] == "failed"]
    said = f"; the first failed with: {errors[0]}" if errors else "."
    return f"none of the {len(found)} trials in {folder} finished{said}"


def _corrected(row: dict[str, Any], costs: model.CostModel, folder: Path) -> dict[str, Any]:
    """Return the row with Yosys' counts where there are any, and else with the cost model's LUTs."""
    if row["status"] != "finished":
        return row
    if "yosys_lut_equivalents" in row:
        return row | {"lut_equivalents": row["yosys_lut_equivalents"]}
    board = BOARDS[row["board"]]
    estimates = (read(folder / row["run"] / "build" / board.name / "estimates.json") or {})["layers"]
    lut = round(costs.lut((model.kind(layer["name"]), layer["LUT"]) for layer in estimates))
    return row | {"lut": lut, "lut_equivalents": board.lut_equivalents(lut, row["bram18"], row["dsp"])}


def select(folder: Path, *, top: int | None, console: Console) -> list[dict[str, Any]]:
    """Look at the test images for the points that validation chose: those on the front, or its best ones.

    Args:
        folder: of a sweep.
        top: how many of the front, by validation AUC; None: all of it.
        console: told of the work.

    Returns:
        The selected points, with test metrics.
    """
    sweep = _sweep(folder)
    with locked(folder), writing(folder):
        chosen = publish(sweep, folder, console)
        chosen = sorted(chosen, key=lambda point: -float(point["monitor"]))[:top]
        for name in [name for point in chosen for name in point["runs"]]:
            _trial(folder, name).train()
        publish(sweep, folder, console)
        names = {point["experiment"] for point in chosen}
        return [point for point in table.points(table.rows(folder)) if point["experiment"] in names]


def refit(folder: Path) -> model.CostModel:
    """Fit the cost model again on everything that Yosys has synthesised in a sweep's folder."""
    _sweep(folder)
    with locked(folder), writing(folder):
        return model.fit(folder)


def _sweep(folder: Path) -> Sweep:
    if not (folder / COPY).is_file():
        raise ConfigError(f"{folder} holds no sweep. Run `cxrflow sweep` first, and give its folder in runs/.")
    return parse_sweep(folder / COPY)


def _trial(folder: Path, name: str) -> Run:
    experiment: Experiment = load_experiment(folder / name / "experiment.yaml")
    return Run(experiment, folder, Console())
