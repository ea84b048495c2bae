"""Several runs side by side: the rows of the table, on the terminal and on the page, and what differs between them.

The best of a row is marked where all in it are alike. Metrics are on the same test images; counts of resources by one
source on one family of parts; images/s and times at one clock on one family, for it is a clock that was asked for, and
of two no tool has said that both can be had. Cycles are alike on every board and at every clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from contract.errors import ConfigError
from contract.table import join_names
from cxrflow.formats import Figures
from cxrflow.report.draw import Plot, span
from cxrflow.report.facts import Facts
from cxrflow.report.hardware import meters
from cxrflow.report.view import auc_words, curve_plots, figure, interval
from cxrflow.report.words import words
from finn_build.resources import SOURCES, TITLES, Source, of_source

MOST = 12  # runs, or names in a cell; more are no longer side by side


@dataclass(frozen=True)
class Row:
    """One figure of every run; empty where it was not measured."""

    name: str
    cells: list[str]
    values: Sequence[Any]  # of the cells, as numbers where they are some
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
        _text("network", [run.network for run in runs]),
        _text("images", [run.metrics.source if run.metrics else "" for run in runs]),
        *_classes(runs),
        _text("board", [run.board.name for run in runs]),
        _row("clock [MHz] (asked for)", [run.clock_mhz for run in runs], "{:g}".format, marked=False),
    ]
    # A macro AUC is no AUC, whatever the images.
    same_images = len({(run.metrics.fingerprint, run.class_names) for run in runs if run.metrics}) == 1
    for name in ("accuracy", "auc", "balanced_accuracy", "kappa", "sensitivity", "specificity"):
        found.append(_metric(name, runs, marked=same_images))
    found.append(
        _row(
            "calibration error (ECE)",
            [run.test.ece if run.test else None for run in runs],
            figure,
            least=True,
            marked=same_images,
        )
    )
    found.append(_text("differing integers", [_chain(run) for run in runs]))
    same_clock = _one_family(runs) and len({run.clock_mhz for run in runs}) == 1
    found += [
        _simulated("cycles per image", "initiation_interval", runs, "{:,.1f}".format, least=True),
        _simulated("images/s", "images_per_s", runs, "{:,.0f}".format, marked=same_clock),
        _simulated("first logit [µs]", "first_latency_us", runs, "{:.1f}".format, least=True, marked=same_clock),
        *_resources(runs),
    ]
    return [row for row in found if any(row.cells)]


def figures(runs: Sequence[Facts]) -> Figures:
    """Return the table of `rows`; for programs one record per run, with the names of its figures that are the best."""
    found = rows(runs)
    best = frozenset((at, 1 + run) for at, row in enumerate(found) for run, marked in enumerate(row.best) if marked)
    names = [row.name.replace("µs", "us") for row in found]  # as the other tables' records have it
    records = [
        {
            "run": facts.name,
            **{name: row.values[number] for name, row in zip(names, found, strict=True)},
            "best": [name for name, row in zip(names, found, strict=True) if row.best[number]],
        }
        for number, facts in enumerate(runs)
    ]
    headings = ("", *(facts.name for facts in runs))
    return Figures(headings, [(row.name, *row.cells) for row in found], records, text=headings, best=best)


def _classes(runs: Sequence[Facts]) -> list[Row]:
    """Return the row of the classes; none where all runs tell the same two apart."""
    names = [run.class_names if run.metrics else () for run in runs]
    if len(set(names)) < 2 and not any(len(each) > 2 for each in names):
        return []
    return [_text("classes", [join_names(each[:MOST]) + (", ..." if len(each) > MOST else "") for each in names])]


def _text(name: str, cells: list[str]) -> Row:
    return Row(name, cells, [cell or None for cell in cells], [""] * len(cells), [False] * len(cells))


def _row(
    name: str, values: Sequence[float | None], write: Callable[[float], str], *, least: bool = False,
    marked: bool = True, notes: list[str] | None = None,
) -> Row:  # fmt: skip
    """Return a row of numbers; the best is marked, unless all are equal or `marked` is False."""
    known = [value for value in values if value is not None]
    best = (min(known) if least else max(known)) if marked and len(set(known)) > 1 else None
    cells = ["" if value is None else write(value) for value in values]
    return Row(
        name, cells, values, notes or [""] * len(cells), [best is not None and value == best for value in values]
    )


def _simulated(
    name: str, field: str, runs: Sequence[Facts], write: Callable[[float], str], *, least: bool = False,
    marked: bool = True,
) -> Row:  # fmt: skip
    values = [None if run.simulated is None else getattr(run.simulated, field) for run in runs]
    return _row(f"{name} (simulated)", values, write, least=least, marked=marked)


def _metric(name: str, runs: Sequence[Facts], *, marked: bool) -> Row:
    tests = [run.test for run in runs]
    notes = [interval(test.intervals[name]) if test and name in test.intervals else "" for test in tests]
    values = [test.value(name) if test else None for test in tests]
    heading = " or ".join(dict.fromkeys(auc_words(test) for test in tests if test)) if name == "auc" else ""
    return _row(f"test {heading or words(name)}", values, figure, marked=marked, notes=notes)


def _chain(run: Facts) -> str:
    return "" if run.equality is None else f"{run.equality.differing:,} on {run.equality}"


def _resources(runs: Sequence[Facts]) -> list[Row]:
    """Return a row per resource and source: what one tool counted is not beside what another one did."""
    alike = _one_family(runs)
    found = []
    for source in SOURCES:
        known = [of_source(run.resources, source) for run in runs]
        for name, title in TITLES.items():
            values = [None if one is None else one.total.get(name) for one in known]
            notes = [
                "" if value is None else f"{value / max(1, getattr(run.board, name)):.1%} of the part"
                for run, value in zip(runs, values, strict=True)
            ]
            heading = f"{title} ({source.name})"
            found.append(_row(heading, values, "{:,.0f}".format, least=True, marked=alike, notes=notes))
    return found


def _one_family(runs: Sequence[Facts]) -> bool:
    """Whether a LUT or a DSP of every run holds the same amount, and is as fast."""
    return len({run.board.vivado_family for run in runs}) == 1


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
            texts = isinstance(value, (list, tuple)) and value and all(isinstance(each, str) for each in value)
            empty = value is None or value == {}
            found[before + name] = "none" if empty else ", ".join(value) if texts else str(value)
    return found


def trade_off(runs: Sequence[Facts]) -> Plot | None:
    """Return test accuracy over LUTs, if it was measured on the same images, by the source that most runs have."""
    if len({run.metrics.fingerprint for run in runs if run.metrics}) > 1:
        return None

    def dots(source: Source) -> list[tuple[int, Facts, int, float]]:
        known = [(number, run, of_source(run.resources, source)) for number, run in enumerate(runs)]
        return [(number, run, one.total["lut"], run.test.accuracy) for number, run, one in known if one and run.test]

    source = max(SOURCES, key=lambda source: len(dots(source)))
    found = dots(source)
    if len(found) < 2:
        return None
    low, high = span([lut for _, _, lut, _ in found], least=50.0)
    y = span([accuracy for *_, accuracy in found], least=0.005)
    plot = Plot("Accuracy over size", f"LUT ({source.name})", "test accuracy", (max(0.0, low), high), y)
    for number, run, lut, accuracy in found:
        plot.scatter(run.name, [lut], [accuracy], number, 6.0)
    return plot


def plots(runs: Sequence[Facts]) -> list[Plot]:
    """Return the curves of runs in one plot each, and what accuracy takes."""
    return [*curve_plots([(run.name, run) for run in runs]), *filter(None, [trade_off(runs)])]


def page(runs: Sequence[Facts]) -> dict[str, Any]:
    """Return everything that the template of a comparison shows."""
    return {
        "runs": runs,
        "rows": rows(runs),
        "differences": differences(runs),
        "plots": plots(runs),
        "meters": [(run.name, meters(run)) for run in runs],
    }
