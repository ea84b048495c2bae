"""Text of others in our tables: a name may hold anything, and must be no program, no second line and no crash.

Names of files come from whoever made them. They may hold bytes that are no UTF-8, line breaks, sequences that a
terminal obeys, letters that turn the text around, and begin like a formula, which a spreadsheet would execute.
"""

import csv
import io
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from contract.files import output


def shown(text: str) -> str:
    """Return `text` with a backslash escape for what is not printable, and for bytes that were no UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def print_anything() -> None:
    """Let print() write an escape for a character that the terminal does not know, instead of stopping."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def cell(value: object) -> object:
    """Return a value for a spreadsheet: a text on one line that is no formula, other values as they are.

    Spreadsheets take full-width and small forms of a formula's first character for the character, and skip blanks.
    """
    if not isinstance(value, str):
        return value
    text = shown(value)
    first = unicodedata.normalize("NFKC", text).lstrip()[:1]
    return f"'{text}" if first in ("=", "+", "-", "@") else text


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all; the names of the columns are ours.

    Raises:
        ConfigError: it cannot be written.
    """
    with output(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerow(columns)
        # Every text is quoted: a spreadsheet that divides at semicolons must not find new cells in a name.
        writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerows([cell(value) for value in row] for row in rows)
