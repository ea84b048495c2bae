"""Several runs side by side: the rows of the table, on the terminal and on the page, and what differs between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from contract.errors import ConfigError
from cxrflow.report.draw import Plot, span
from cxrflow.report.facts import Facts
from cxrflow.report.files import WITNESSES
from cxrflow.report.hardware import Meter, meters
from cxrflow.report.view import curve_plots, figure, interval, words

MOST = 12  # runs; more are no longer side by side


@dataclass(frozen=True)
class Row:
    """One figure of every run; empty where it was not measured."""

    name: str
    cells: list[str]
    notes: list[str]  # smaller, below each cell
    best: list[bool]


def require_some(runs: Sequence[object]) -> None:
    """Stop unless there are runs to compare, and not too many. Raises ConfigError."""
    if not 2 <= len(runs) <= MOST:
        raise ConfigError(
            f"found {len(runs)} runs, expected 2 to {MOST} to put side by side. Give other names or folders."
        )


def rows(runs: Sequence[Facts]) -> list[Row]:
    """Return what is compared, row by row."""
    found = [
        _text("network", [run.experiment.network.describe() for run in runs]),
        _text("images", [run.metrics.source if run.metrics else "" for run in runs]),
        _text("board", [run.board.name for run in runs]),
    ]
    same_images = len({run.metrics.fingerprint for run in runs if run.metrics}) == 1
    for name in ("accuracy", "auc", "balanced_accuracy", "sensitivity", "specificity"):
        found.append(_metric(name, runs, marked=same_images))
    found.append(
        _row(
            "calibration error (ECE)",
            [run.metrics.test.ece if run.metrics else None for run in runs],
            figure,
            least=True,
            marked=same_images,
        )
    )
    found.append(_text("differing integers", [_chain(run) for run in runs]))
    sims = [run.simulated for run in runs]
    found += [
        _row(
            "cycles per image", [sim.initiation_interval if sim else None for sim in sims], "{:,.1f}".format, least=True
        ),
        _row("images/s", [sim.images_per_s if sim else None for sim in sims], "{:,.0f}".format),
        _row("first logit [µs]", [sim.first_latency_us if sim else None for sim in sims], "{:.1f}".format, least=True),
    ]
    taken = [{meter.title: meter for meter in meters(run)} for run in runs]
    for title in dict.fromkeys(name for of_run in taken for name in of_run):
        found.append(_resource(title, [of_run.get(title) for of_run in taken]))
    return [row for row in found if any(row.cells)]


def _text(name: str, cells: list[str]) -> Row:
    return Row(name, cells, [""] * len(cells), [False] * len(cells))


def _row(
    name: str, values: Sequence[float | None], write: Callable[[float], str], *, least: bool = False,
    marked: bool = True, notes: list[str] | None = None,
) -> Row:  # fmt: skip
    """Return a row of numbers; the best is marked, unless all are equal or `marked` is False."""
    known = [value for value in values if value is not None]
    best = (min(known) if least else max(known)) if marked and len(set(known)) > 1 else None
    cells = ["" if value is None else write(value) for value in values]
    return Row(name, cells, notes or [""] * len(cells), [best is not None and value == best for value in values])


def _metric(name: str, runs: Sequence[Facts], *, marked: bool) -> Row:
    tests = [run.metrics.test if run.metrics else None for run in runs]
    notes = [interval(test.intervals[name]) if test and name in test.intervals else "" for test in tests]
    values = [getattr(test, name) if test else None for test in tests]
    return _row(f"test {words(name)}", values, figure, marked=marked, notes=notes)


def _chain(run: Facts) -> str:
    links = [link for link in run.chain if link.differing is not None and link.stage not in WITNESSES]
    if not links:
        return ""
    end = "RTL" if run.simulated else words(links[-1].stage)
    return f"{sum(link.differing or 0 for link in links)} on {max(link.images for link in links):,} images, to {end}"


def _resource(title: str, taken: Sequence[Meter | None]) -> Row:
    notes = [f"{meter.share:.1%} of the part, {meter.source}" if meter else "" for meter in taken]
    return _row(title, [meter.used if meter else None for meter in taken], "{:,.0f}".format, least=True, notes=notes)


def differences(runs: Sequence[Facts]) -> list[Row]:
    """Return the fields of the experiments that are not the same everywhere."""
    flat = [_flat(run.fields) for run in runs]
    names = dict.fromkeys(name for fields in flat for name in fields if name != "name")
    written = {name: [fields.get(name, "") for fields in flat] for name in names}
    return [_text(name, cells) for name, cells in written.items() if len(set(cells)) > 1]


def _flat(fields: dict[str, Any], before: str = "") -> dict[str, str]:
    """Return nested fields by their dotted names, as short texts."""
    found: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = "none" if value is None or value == {} else str(value)
    return found


def trade_off(runs: Sequence[Facts]) -> Plot | None:
    """Return test accuracy over LUTs, one dot per run that has both."""
    known = []
    for number, run in enumerate(runs):
        lut = next((meter for meter in meters(run) if meter.title == "LUT"), None)
        if lut is not None and run.metrics is not None:
            known.append((number, run, lut))
    if len(known) < 2:
        return None
    accuracies = [run.metrics.test.accuracy for _, run, _ in known if run.metrics]
    low, high = span([lut.used for _, _, lut in known], least=50.0)
    plot = Plot("Accuracy over size", "LUT", "test accuracy", (max(0.0, low), high), span(accuracies, least=0.005))
    for (number, run, lut), accuracy in zip(known, accuracies, strict=True):
        plot.scatter(f"{run.name} ({lut.source})", [lut.used], [accuracy], number, 6.0)
    return plot


def page(runs: Sequence[Facts]) -> dict[str, Any]:
    """Return everything that the template of a comparison shows."""
    named = [(run.name, run) for run in runs]
    plots = [*curve_plots(named), *filter(None, [trade_off(runs)])]
    return {
        "runs": runs,
        "rows": rows(runs),
        "differences": differences(runs),
        "plots": plots,
        "meters": [(name, meters(run)) for name, run in named],
    }
