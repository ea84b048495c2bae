"""Tables for papers, pages, spreadsheets and programs: whatever a run or a class is called, the form stays whole.

The kind of fault: a name that ends a cell, a line or a group of the form that it is written in.
"""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import ConfigError
from contract.table import cell, shown
from cxrflow.formats import FORMATS, Figures, as_csv, as_json, latex, latex_text, markdown, require

NAMES = st.text(max_size=12) | st.sampled_from(
    ["[0.8..0.9]", "*x", r"a\b{c}", "a|b", "50 % & more_of#it$", "=1+1", "x\ny", "0.9 ± 0.1", '~^<>"']
)
NUMBERS = st.none() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def figures(draw: st.DrawFn) -> Figures:
    headings = draw(st.lists(NAMES, min_size=1, max_size=4))
    rows = draw(st.lists(st.lists(NAMES, min_size=len(headings), max_size=len(headings)), max_size=4))
    records = draw(st.lists(st.dictionaries(NAMES, NUMBERS | NAMES, max_size=4), max_size=4))
    best = draw(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3))))
    return Figures(headings, rows, records, text=headings[:1], best=frozenset(best))


@given(figures())
def test_markdown_has_a_line_per_row_and_a_cell_per_column(table: Figures) -> None:
    lines = markdown(table).split("\n")
    assert lines.pop() == "" and len(lines) == 2 + len(table.rows)
    for line, row in zip([lines[0], *lines[2:]], [table.headings, *table.rows], strict=True):
        cells = [one.strip() for one in re.split(r"(?<!\\)\|", line)][1:-1]
        if not any("\\" in text for text in row):
            unmarked = [re.sub(r"^\*\*(.*)\*\*$", r"\1", one).replace(r"\|", "|") for one in cells]
            assert unmarked == [re.sub(r"^\*\*(.*)\*\*$", r"\1", shown(text).strip()) for text in row]


SAFE = (
    r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textasciigrave|textmu)\{\}"
    r"|\\symbol\{34\}|-\{\}-|^\{\}"
)


@given(figures())
def test_latex_is_whole_and_obeys_no_name(table: Figures) -> None:
    lines = latex(replace(table, best=frozenset())).split("\n")
    assert lines[0].startswith("% ") and lines[1].startswith(r"\begin{tabular}{") and lines[-2] == r"\end{tabular}"
    body = [line.removesuffix(r" \\") for line in lines[2:-2] if line not in (r"\toprule", r"\midrule", r"\bottomrule")]
    assert len(body) == 1 + len(table.rows) == len(lines) - 7
    for line, row in zip(body, [table.headings, *table.rows], strict=True):
        letters = re.sub(rf"{SAFE}|\$\\(pm|times|to)\$|\\[{{}}%$#_&]", "", line)
        assert not line.startswith(("[", "*"))  # which the end of the row above would take for its own
        assert letters.count("&") == len(row) - 1 and not re.search(r"[\\%$#_~^{}]", letters)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("W8A8 100 %", r"W8A8 100 \%"), ("w8a8_seed0", r"w8a8\_seed0"), (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("0.9 ± 0.1", r"0.9 $\pm$ 0.1"),
        ("first logit [µs]", r"first logit [\textmu{}s]"), ("a\nb", r"a\textbackslash{}nb"),
        ('"x" --set', r"\symbol{34}x\symbol{34} -{}-set"),
    ],
)  # fmt: skip
def test_latex_letters(text: str, written: str) -> None:
    assert latex_text(text) == written


def test_latex_as_a_paper_has_it() -> None:
    table = Figures(("", "a_b", "c"), [("LUT (Yosys)", "5,425", "3,258")], [], text=("",), best=frozenset({(0, 2)}))
    assert latex(table).split("\n")[1:] == [
        r"\begin{tabular}{lrr}", r"\toprule",
        r" & a\_b & c \\", r"\midrule", r"LUT (Yosys) & 5,425 & \textbf{3,258} \\",
        r"\bottomrule", r"\end{tabular}", "",
    ]  # fmt: skip


@given(figures())
def test_csv_and_json_keep_every_figure(table: Figures) -> None:
    assert json.loads(as_json(table))["results"] == [dict(record) for record in table.records]
    names = list(dict.fromkeys(name for record in table.records for name in record))
    lines = list(csv.reader(io.StringIO(as_csv(table)), quoting=csv.QUOTE_NONNUMERIC))
    want = [[record.get(name) for name in names] for record in table.records]
    if names:
        assert lines == [[cell(name) for name in names], *([_read(value) for value in row] for row in want)]


def _read(value: object) -> object:
    return "" if value is None else float(value) if isinstance(value, int | float) else cell(value)


def test_a_format_that_is_none() -> None:
    with pytest.raises(ConfigError, match="--format is xml, expected table, markdown, csv, latex or json"):
        require("xml")
    assert [require(form) for form in FORMATS] == [None] * len(FORMATS)  # type: ignore[func-returns-value]
