"""Write the pages: one HTML file each, with everything in it, whole or not at all."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from contract.files import output, write_whole
from contract.manifest import DISCLAIMER
from cxrflow.report import compare, view
from cxrflow.report.draw import Plot
from cxrflow.report.facts import Facts, collect, require_test
from cxrflow.report.words import words
from cxrflow.runs import make_folder, writing

REPORT = "report.html"
HERE = Path(__file__).parent


def write_report(run: Path) -> Path:
    """Write report.html into a run folder; return its path.

    Raises:
        ConfigError: the folder is no run, or cannot be written.
        ArtifactError: a file of the run is damaged.
    """
    facts = collect(run)
    require_test(run, facts)
    text = render("report.html.j2", view.page(facts))
    with writing(run):
        write_whole(run / REPORT, text)
    return run / REPORT


def write_comparison(runs: Sequence[Facts], path: Path, *, option: str) -> Path:
    """Write a page with runs side by side; return its path, which `option` chose. Raises ConfigError: see `output`."""
    text = render("compare.html.j2", compare.page(runs))
    with output(path, parents=True, option=option) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def write_figures(plots: Iterable[Plot], folder: Path, *, option: str) -> list[Path]:
    """Write plots as SVG and PDF into a folder, which `option` chose. Raises ConfigError: it cannot be written."""
    make_folder(folder, option=option)
    with writing(folder, option=option):
        return [path for plot in plots for path in plot.save(folder)]


def render(template: str, content: dict[str, Any]) -> str:
    """Return a page. Every text in it is escaped: a run's files may say anything."""
    style = (HERE / "style.css").read_text(encoding="utf-8")
    return _templates().get_template(template).render(style=style, disclaimer=DISCLAIMER, **content)


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"words": words, "figure": view.figure, "interval": view.interval}
    environment.filters["thousands"] = lambda value: f"{value:,}"
    return environment
