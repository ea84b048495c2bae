"""Text of others in our tables: a name may hold anything, and must be no program, no second line and no crash.

Names of files come from whoever made them. They may hold bytes that are no UTF-8, line breaks, sequences that a
terminal obeys, letters that turn the text around, and begin like a formula, which a spreadsheet would execute.
"""

import csv
import io
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from contract.files import output

SIGNS = "=+-\u2212@|%"  # begin a formula, or a call of another program
BLANK = "\u115f\u1160\u2800"  # letters and signs without ink: two fillers (NFKD of all), and Braille without dots


def shown(text: str) -> str:
    """Return `text` with a backslash escape for what is not printable, and for bytes that were no UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def join_names(names: Iterable[str]) -> str:
    """Return names, as of classes, between commas; one that holds a comma is quoted, so that it is not read as two."""
    return ", ".join(repr(name) if "," in name else name for name in names)


def print_anything() -> None:
    """Let print() write an escape for a character that the terminal does not know, instead of stopping."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_formula(text: str) -> bool:
    """Return whether some spreadsheet might execute a cell of this text. The web page's script has the same rule.

    Spreadsheets take full-width and small forms of a formula's first character for the character. They skip what
    cannot be seen, each of them other characters: so here every blank, mark, format and control character is skipped.
    """
    seen = (
        c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c)[0] not in "CZM" and c not in BLANK
    )
    return text.startswith(("\t", "\r", "\n")) or next(seen, "a") in SIGNS


def cell(value: object) -> object:
    """Return a value for a spreadsheet: a text on one line that is no formula, other values as they are."""
    if not isinstance(value, str):
        return value
    return f"'{shown(value)}" if is_formula(value) else shown(value)


def write_csv(
    path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]], *, option: str | None = None
) -> None:
    """Write a CSV file, whole or not at all. `option`: see `output`.

    Names of columns are cells like others, because classes are called what somebody else wrote.

    Raises:
        ConfigError: it cannot be written.
    """
    with output(path, option=option) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        # Every text is quoted: a spreadsheet that divides at semicolons must not find new cells in a name.
        writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
        plain = not any(";" in name for name in columns)
        (csv.writer(stream) if plain else writer).writerow([cell(name) for name in columns])
        writer.writerows([cell(value) for value in row] for row in rows)
