"""What `cxrflow sweep` does: trials, then the front through Yosys, then table, figures and page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contract.errors import ArtifactError, ConfigError
from contract.files import spare, write_whole
from cxrflow.console import Console
from cxrflow.experiment import Experiment, load_experiment
from cxrflow.runs import fingerprint, locked, writing
from cxrflow.stage_table import STAGES
from cxrflow.stages import Run, load_data
from cxrflow.sweep import model, page, table
from cxrflow.sweep.drive import drive
from cxrflow.sweep.spec import Sweep, checked, load_sweep, parse_sweep
from finn_build.targets.boards import BOARDS

COPY = "sweep.yaml"  # of the file, beside its results


def run(
    file: Path,
    *,
    runs: Path,
    data: Path | None,
    workers: int,
    address: str | None,
    yes: bool,
    fields: Sequence[str],
    console: Console,
) -> tuple[Path, list[dict[str, Any]], list[ArtifactError]]:
    """Do what is left of a sweep; return its folder, its front, and what is wrong with damaged trials."""
    sweep, base = load_sweep(file, data=data, yes=yes, fields=fields)
    folder = runs / sweep.name
    spare([folder], base.data.files, option="--runs")
    with locked(folder), writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / COPY, file.read_text(encoding="utf-8"))
        read = _read(sweep, base, folder, console)
        drive(sweep, base, folder, data=read, workers=workers, address=address, console=console)
        results = settle(sweep, folder, console)
        publish(sweep, results, folder)
        return folder, list(results.front), _damaged(results)


def _read(sweep: Sweep, base: Experiment, folder: Path, console: Console) -> str:
    """Read every set of X-rays that a point names, once, before the workers all want it; return their fingerprint."""
    named = {"data.seed", "data.val_fraction"}.isdisjoint
    experiments = [base]
    if any(field.startswith(("data.", "network.height", "network.width")) and named([field]) for field in sweep.fields):
        experiments = [point.experiment(base) for point in checked(sweep)]
    split = dict.fromkeys(("seed", "val_fraction"), 0.125)
    sets = {
        repr((one.data.model_copy(update=split), one.network.height, one.network.width)): one for one in experiments
    }
    found = [load_data(one, cache=folder / ".cache", console=console).fingerprint for one in sets.values()]
    return found[0] if len(found) == 1 else fingerprint(dict(zip(sets, found, strict=True)))


def show(folder: Path, console: Console) -> tuple[list[dict[str, Any]], list[ArtifactError]]:
    """Write table, figures and page again from what is in a sweep's folder; return its front, and what is damaged.

    The console is told what an unfinished sweep lacks.
    Points that wait for Yosys stay as the cost model has them, which their columns say.
    """
    sweep = _sweep(folder)
    with locked(folder), writing(folder):
        results = _results(sweep, folder)
        if left := page.unfinished(sweep, results.rows):
            console.warn(f"{left}.")
        publish(sweep, results, folder)
        return list(results.front), _damaged(results)


def settle(sweep: Sweep, folder: Path, console: Console) -> page.Results:
    """Return what a sweep has found, with all of its front synthesised.

    A point on the front may leave it once Yosys has counted, and another take its place: until nothing changes.
    """
    while True:
        results = _results(sweep, folder)
        waiting = [point for point in results.front if "yosys_lut" not in point]
        if not waiting:
            return results
        for number, point in enumerate(waiting):
            console.detail(f"synthesising point {number + 1} of {len(waiting)} on the front: {point['network']}")
            _trial(folder, point["runs"][0]).synth()
        model.fit(folder)


def publish(sweep: Sweep, results: page.Results, folder: Path) -> None:
    """Write table, figures and page of what a sweep has found."""
    table.save(results.rows, folder)
    pictures = page.figures(results.points, results.front, folder / "figures")
    page.write_page(sweep, results, pictures, folder)


def _results(sweep: Sweep, folder: Path) -> page.Results:
    """Return what is known now."""
    costs = model.load(folder)
    found = [_corrected(row, costs, folder) for row in table.rows(folder)]
    points = table.points(found)
    if not points:
        table.save(found, folder)
        raise ConfigError(_nothing(found, folder))
    return page.Results(found, points, table.front(points, sweep.limits), costs)


def _nothing(found: Sequence[dict[str, Any]], folder: Path) -> str:
    errors = [row["error"] for row in found if row["status"] in ("failed", table.DAMAGED)]
    said = f"; the first failed with: {errors[0]}" if errors else "."
    return f"none of the {len(found)} trials in {folder} finished{said}"


def _corrected(row: dict[str, Any], costs: model.CostModel, folder: Path) -> dict[str, Any]:
    """Return the row with the cost model's LUTs and FFs, and with what Yosys' counts are worth where there are any."""
    if row["status"] != "finished":
        return row
    board = BOARDS[row["board"]]
    try:
        predicted = costs.predict(model.formulas(STAGES["build"].place(folder / row["run"], board.name)))
    except ArtifactError as err:
        return row | {"status": table.DAMAGED, "error": str(err)}
    worth = board.lut_equivalents(predicted["lut"], row["bram18"], row["dsp"])
    return row | predicted | {"lut_equivalents": row.get("yosys_lut_equivalents", worth)}


def select(folder: Path, *, top: int | None, console: Console) -> tuple[list[dict[str, Any]], list[ArtifactError]]:
    """Look at the test images for the points that validation chose: those on the front, or its best ones.

    Args:
        folder: of a sweep.
        top: how many of the front, by validation AUC; None: all of it.
        console: told of the work.

    Returns:
        The selected points, with test metrics, and what is wrong with damaged trials.
    """
    sweep = _sweep(folder)
    with locked(folder), writing(folder):
        settled = settle(sweep, folder, console)
        if left := page.unfinished(sweep, settled.rows):
            console.warn(f"{left}.")
        front = settled.front
        chosen = sorted(front, key=lambda point: -float(point["monitor"]))[:top]
        for name in [name for point in chosen for name in point["runs"]]:
            _trial(folder, name).train()
        results = _results(sweep, folder)
        publish(sweep, results, folder)
        names = {point["experiment"] for point in chosen}
        return [point for point in results.points if point["experiment"] in names], _damaged(results)


def _damaged(results: page.Results) -> list[ArtifactError]:
    """Return what is wrong with trials whose files cannot be believed; they hide no other."""
    return [ArtifactError(row["error"]) for row in results.rows if row["status"] == table.DAMAGED]


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
