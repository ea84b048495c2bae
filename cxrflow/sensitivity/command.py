"""What `cxrflow sensitivity` does: points on Ray, then table, figures, and widths within a budget."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from contract.errors import ConfigError, CxrflowError
from contract.files import hash_file, output
from contract.table import write_csv
from cxrflow.console import Console
from cxrflow.experiment import Experiment, save_experiment
from cxrflow.runs import locked, require_files, writing
from cxrflow.sensitivity.measurement import AS_IT_IS, Source, Widths
from cxrflow.sensitivity.proposal import RESOURCES, Budget, Options, Row, expected, limited, propose, road, with_one
from cxrflow.stages import Run
from cxrflow.sweep.drive import drive_points
from cxrflow.sweep.page import MONITOR, cell, draw
from cxrflow.sweep.spec import Limits, Point
from cxrflow.sweep.table import JUDGED
from finn_build.resources import FORMULAS, TITLES
from qnn.spec import MAX_BITS

FOLDER = "sensitivity"  # in the run
ALL_BITS = tuple(range(MAX_BITS, 0, -1))
HEADINGS = {
    "of": "of", "bits": "bits", "monitor": MONITOR, "change": "change", **{
        name: f"{TITLES[name]} ({FORMULAS.name})" for name in RESOURCES
    }, "error": "why not",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What is wanted of a sensitivity."""

    bits: Sequence[int] = ALL_BITS  # widths that every layer is tried in
    epochs: int = 0  # of retraining
    limits: Limits = field(default_factory=Limits)  # of the proposal
    loss: float | None = None  # or the validation AUC that it may lose


@dataclass(frozen=True)
class Proposal:
    """Widths within the budget, and what was measured of them."""

    experiment: Experiment
    row: Row
    expected: Row  # if losses and prices added up
    own: bool  # the widths are the run's
    worse: tuple[Experiment, Row] | None  # what narrowing led to, if the proposal is a better point


@dataclass(frozen=True)
class Found:
    """What a sensitivity has found."""

    rows: list[Row]  # HEADINGS: of the run, of its own widths treated as every other point, of the other points
    proposal: Proposal | None  # None: no widths are within the budget
    nearest: Row | None  # then: what the cheapest widths take
    files: list[Path]


def parse_bits(text: str) -> tuple[int, ...]:
    """Return the widths in a text such as 8,4,2. Raises ConfigError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) == 1 and 1 <= int(part) <= MAX_BITS for part in parts):
        raise ConfigError(f"--bits is {text[:60]!r}, expected widths of 1 to {MAX_BITS}, such as 8,4,2,1.")
    return tuple(sorted({int(part) for part in parts}, reverse=True))


def study(run: Run, asked: Asked, *, workers: int, address: str | None) -> Found:
    """Measure every layer of a trained run in other widths, on validation images; do what is left of it.

    Raises:
        ConfigError: the run is imported or float, or its own widths cannot be measured.
        ArtifactError: its training is missing, altered, or of other X-rays.
    """
    run.require_trained()
    if not run.experiment.network.is_quantized:
        raise ConfigError(
            f"{run.experiment.name} is {run.experiment.network.describe()}, which has float layers, expected 1 to "
            f"{MAX_BITS} bits: a width is what is varied. Give a run that was trained with widths."
        )
    run.foresee()  # each point is priced as hardware
    with run.locked():
        require_files(run.place("train"), "train")
        run.require_same_xrays()
        place = run.folder / FOLDER / (f"retrained-{asked.epochs}" if asked.epochs else "as-trained")
        with locked(place), writing(place):
            place.mkdir(parents=True, exist_ok=True)
            checkpoint = hash_file(run.place("train") / "checkpoint.pt")
            source = Source(run.experiment, run.folder.resolve(), checkpoint, run.data().fingerprint, asked.epochs)
            return _study(source, place, asked, workers, address, run.console)


def _study(source: Source, out: Path, asked: Asked, workers: int, address: str | None, console: Console) -> Found:
    start, place = source.widths, out.resolve()
    tried = [(i, bits) for i in range(len(start)) for bits in asked.bits if bits != start[i]]
    impossible = refusals(source, tried, place)
    networks = {start: None} | {with_one(start, *one): None for one in tried if one not in impossible}
    points = [AS_IT_IS, *(source.measurement(widths, place).point for widths in networks)]
    drive_points(points, _Making(source, place), place, workers, address, console)

    def measured(point: Point) -> Row:
        row = source.of_point(point, place).row()
        assert row is not None
        return row

    run, base = measured(points[0]), measured(points[1])
    for row in (run, base):
        if row["status"] != "finished":
            raise ConfigError(f"{source.folder} cannot be measured in its own widths: {row['error']}")
    changed = {
        one: impossible.get(one) or measured(source.measurement(with_one(start, *one), place).point) for one in tried
    }
    rows = [_shown("all as they are", "", run, None), _shown(f"as they are, {_treated(asked)}", "", base, base)]
    rows += [_shown(source.names[i], bits, row, base) for (i, bits), row in changed.items()]
    finished = {one: row for one, row in changed.items() if row["status"] == "finished"}
    options: list[dict[int, Row]] = [{bits: base} for bits in start]
    for (i, bits), row in finished.items():
        options[i][bits] = row
    files = _write(rows, source, options, out)

    def measure(widths: Widths) -> Row | None:
        try:
            one = source.measurement(widths, place)
            if one.row() is None:
                console.detail(f"measuring {one.experiment.network.describe()}, all layers together")
            row = one.row() or one.run()
        except CxrflowError:
            return None
        return row if row["status"] == "finished" else None

    budget = Budget(limited(asked.limits), asked.loss or 0.0, base)
    known = [(start, run), (start, base), *((with_one(start, *one), row) for one, row in finished.items())]
    found = propose(start, options, budget, measure, known)
    if found is None:
        return Found(rows, None, measure(road(start, options, budget.limits)[-1]), files)
    worse = None if found.worse is None else (_experiment(source, found.worse[0]), found.worse[1])
    sums = expected(start, options, found.widths)
    proposal = Proposal(_experiment(source, found.widths), found.row, sums, found.widths == start, worse)
    return Found(rows, proposal, None, files)


def refusals(source: Source, tried: Sequence[tuple[int, int]], place: Path) -> dict[tuple[int, int], Row]:
    """Return the rows of those of (which width, bits) that no network of the run's layers can have, which say why."""
    found = {}
    for one in tried:
        try:
            source.measurement(with_one(source.widths, *one), place)
        except ConfigError as err:
            found[one] = {"status": "refused", "error": str(err).partition(": ")[2]}
    return found


@dataclass(frozen=True)
class _Making:
    """Makes the trial of a point, in a worker's process, too."""

    source: Source
    place: Path

    def __call__(self, point: Point) -> Any:
        return self.source.of_point(point, self.place)


def _treated(asked: Asked) -> str:
    """Say what all points have and the run itself has not."""
    return f"{asked.epochs} epochs more" if asked.epochs else "batch norms measured anew"


def _shown(of: str, bits: Any, row: Row, base: Row | None) -> Row:
    """Return a row of the table; its change is from `base`, None: it has none."""
    if row["status"] != "finished":
        return {"of": of, "bits": bits, "error": row["error"] or row["status"]}
    figures = {name: row[name] for name in ("monitor", *RESOURCES)}
    return {"of": of, "bits": bits, **figures} | ({} if base is None else {"change": row["monitor"] - base["monitor"]})


def columns(rows: Sequence[Row]) -> dict[str, str]:
    """Return the headings of the columns that any row fills, by name."""
    return {name: text for name, text in HEADINGS.items() if any(name in row for row in rows)}


def text(name: str, value: Any) -> str:
    """Return a cell of the table as people read it."""
    if name == "change" and value is not None:
        return f"{value:+.4f}"
    if name == "monitor" and value is not None:
        return f"{value:.4f}"
    return value if isinstance(value, str) else cell(value)


def _experiment(source: Source, widths: Widths) -> Experiment:
    """Return the run's experiment in other widths, under a name of its own; all else is the run's."""
    content = source.experiment.model_dump(mode="json")
    content["name"] = f"{source.experiment.name[:58]}-mixed"
    for name, bits in source.in_widths(widths).items():
        content["network"][name.rpartition(".")[2]] = list(bits)
    return Experiment.model_validate(content)


def sentences(found: Found, asked: Asked) -> list[str]:
    """Say what is proposed, what was measured of it, and where table and figures are."""
    epochs = f"{asked.epochs} epoch{'s' if asked.epochs > 1 else ''}"
    trained = f"after {epochs} of retraining" if asked.epochs else "without retraining"
    said = [
        f"Validation images only, {trained}. {', '.join(map(str, found.files))}",
        f"The first row is the run itself; all others have {_treated(asked)}, and changes and losses count from the "
        "second.",
    ]
    most = limited(asked.limits)
    budget = ", ".join(f"{limit:,} {TITLES[name]}" for name, limit in most.items()) or f"an AUC loss of {asked.loss:g}"
    if found.proposal is None:
        taken = "cannot be built" if found.nearest is None else f"take {_amounts(found.nearest)}"
        return [*said, f"No widths are within {budget}: the narrowest that were tried {taken}."]
    proposal, (run, base) = found.proposal, found.rows[:2]
    better = "has a greater AUC" if most else "is cheaper"
    if proposal.own:
        said.append(f"The run's own widths are within {budget}, and no measured point there {better}.")
    else:
        row = proposal.row
        said.append(
            f"Within {budget}: {_bits(proposal.experiment)}. Measured, all together: AUC {row['monitor']:.4f} "
            f"({row['monitor'] - base['monitor']:+.4f}; the points' changes add up to an AUC of "
            f"{proposal.expected['monitor']:.4f}), {_amounts(row)} ({FORMULAS.name}; the run, AUC "
            f"{run['monitor']:.4f}, {_amounts(run)})."
        )
    if proposal.worse is not None:
        experiment, row = proposal.worse
        said.append(
            f"Narrowing what loses least led to {_bits(experiment)}: AUC {row['monitor']:.4f}, {_amounts(row)}. The "
            f"proposal, which was measured, too, {better}."
        )
    return said


def _bits(experiment: Experiment) -> str:
    network = experiment.network
    return f"weight_bits {list(network.weight_bits_per_layer)}, act_bits {list(network.act_bits_per_layer)}"


def _amounts(row: Row) -> str:
    return ", ".join(f"{row[name]:,} {TITLES[name]}" for name in RESOURCES)


def save_proposal(path: Path, proposal: Proposal) -> None:
    """Write the proposal's experiment file. Raises ConfigError: it is no place for one."""
    with output(path, parents=True, option="--write") as partial:
        save_experiment(partial, proposal.experiment)


def _write(rows: list[Row], source: Source, options: Options, place: Path) -> list[Path]:
    """Write the table and the figures; return the files."""
    table, shown = place / "sensitivity.csv", columns(rows)
    write_csv(table, list(shown.values()), [[row.get(name) for name in shown] for row in rows])
    (place / "figures").mkdir(exist_ok=True)
    drawn = [
        draw(place / "figures" / name, partial(_plot, what=what, label=label, names=source.names, options=options))
        for name, what, label in (
            ("auc", JUDGED[0][0], MONITOR),
            ("price", "lut_equivalents", f"LUT-equivalents ({FORMULAS.name})"),
        )
    ]
    return [table, *drawn]


def _plot(axes: Axes, *, what: str, label: str, names: Sequence[str], options: Options) -> None:
    """A figure of merit over bits, a line per layer's weights (solid) and activations (dashed)."""
    for name, rows in zip(names, options, strict=True):
        bits = sorted(rows)
        style = "--" if name.endswith("activations") else "-"
        axes.plot(bits, [rows[b][what] for b in bits], style, marker="o", ms=4, label=name)
    ticks = sorted({bits for rows in options for bits in rows})
    axes.set(xlabel="width [bit], the other layers as they are", ylabel=label, xticks=ticks)
    axes.legend(fontsize=7)
