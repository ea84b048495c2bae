"""A table of results as a terminal, a Markdown page, a spreadsheet, a paper or a program takes it.

People read the cells, in which a figure is rounded and may stand with its interval. Programs and spreadsheets get
records, one per run or point: numbers as they are, each under a name with its unit and its source.

LaTeX is written here, in the four lines that booktabs are: pandas' writer refuses two columns of one name, which two
runs may have, and would be loaded for nothing else.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contract.errors import ConfigError
from contract.manifest import DISCLAIMER
from contract.table import cell, shown

FORMATS = ("table", "markdown", "csv", "latex", "json")
HELP = "table, markdown, csv, latex (booktabs) or json."
Record = Mapping[str, Any]  # name of a figure, with unit and source -> a number, a text, None, or a list of texts
# What LaTeX takes for something else, and what its fonts may not have.
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\symbol{34}", "`": r"\textasciigrave{}",
    "±": r"$\pm$", "µ": r"\textmu{}", "\u00d7": r"$\times$", "→": r"$\to$",
})  # fmt: skip
_MARKDOWN = str.maketrans({"|": r"\|"})


@dataclass(frozen=True)
class Figures:
    """A table of figures."""

    headings: Sequence[str]  # of the columns
    rows: Sequence[Sequence[str]]  # cells, one per heading
    records: Sequence[Record]  # the same, for programs
    text: Sequence[str] = ()  # headings of columns that hold words; the others are numbers
    best: frozenset[tuple[int, int]] = field(default=frozenset())  # row and column of cells to mark


def require(form: str) -> None:
    """Stop at a format that is none. Raises ConfigError."""
    if form not in FORMATS:
        raise ConfigError(f"--format is {shown(form)}, expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")


def text_of(figures: Figures, form: str) -> str:
    """Return a table in one of FORMATS but the first, which is a terminal's."""
    return {"markdown": markdown, "csv": as_csv, "latex": latex, "json": as_json}[form](figures)


def markdown(figures: Figures) -> str:
    """Return a Markdown table; the best in bold."""
    return "".join(
        f"| {' | '.join(cells)} |\n"
        for cells in (
            [shown(name).translate(_MARKDOWN) for name in figures.headings],
            ["---"] * len(figures.headings),
            *_marked(figures, lambda text: shown(text).translate(_MARKDOWN), "**{}**"),
        )
    )


def latex(figures: Figures) -> str:
    """Return a tabular for \\usepackage{booktabs}; the best in bold."""
    columns = "".join("l" if name in figures.text else "r" for name in figures.headings)
    lines = [
        [latex_text(name) for name in figures.headings],
        *_marked(figures, latex_text, r"\textbf{{{}}}"),
    ]
    # The end of the row above takes a [ or * for its own.
    guarded = (["{}" + first if first.startswith(("[", "*")) else first, *rest] for first, *rest in lines)
    head, *body = (" & ".join(cells) + r" \\" for cells in guarded)
    return "\n".join(
        [
            f"% {DISCLAIMER}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def latex_text(text: str) -> str:
    """Return a text as LaTeX sets it, letter by letter."""
    return shown(text).translate(_LATEX).replace("--", "-{}-")


def as_csv(figures: Figures) -> str:
    """Return the records as CSV, a line each; a spreadsheet finds no formula in it."""
    names = list(dict.fromkeys(name for record in figures.records for name in record))
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow([cell(name) for name in names])
    writer.writerows([_plain(record.get(name)) for name in names] for record in figures.records)
    return stream.getvalue()


def as_json(figures: Figures) -> str:
    """Return the records as JSON."""
    return json.dumps({"note": DISCLAIMER, "results": [dict(record) for record in figures.records]}, indent=2) + "\n"


def _plain(value: Any) -> Any:
    listed = "; ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return "" if listed is None else cell(listed)


def _marked(figures: Figures, write: Any, mark: str) -> Iterable[list[str]]:
    """Yield the rows with every cell written and the best ones marked."""
    for number, row in enumerate(figures.rows):
        yield [mark.format(write(c)) if (number, at) in figures.best else write(c) for at, c in enumerate(row)]
