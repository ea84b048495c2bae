"""Read a table's lines from a file that may come from anywhere: bounded before anything is allocated.

Text is UTF-8, or UTF-16 with the mark that spreadsheets write; the separator is a comma, a semicolon or a tab, or what
a first line `sep=;` says, which Excel reads; a table may be packed by gzip, as PhysioNet's are.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from contract.errors import DataError

MAX_TABLE_BYTES = 64 << 20  # unpacked
MAX_ROWS = 1_000_000
MAX_COLUMNS = 10_000
MAX_ROW = 1 << 20  # characters
_GZIP = b"\x1f\x8b"
_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig"))  # first bytes -> encoding


def normal(heading: str) -> str:
    """Return what two spellings of one column's name have in common."""
    return " ".join(heading.split()).lower().replace(" ", "_").replace("-", "_")


def is_text(head: bytes) -> bool:
    """Return whether a file that begins like this can be a table."""
    return b"\0" not in head or head[:2] in (b"\xff\xfe", b"\xfe\xff")


def read_rows(table: Path, known: Container[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of a table, the column names first; empty lines are left out.

    Args:
        table: the file.
        known: names of columns, as `normal` writes them, by which the separator is recognised.

    Raises:
        DataError: it is no table, or one of an absurd size.
    """
    content, encoding = _content(table)
    try:
        lines = _Lines(table, content, encoding)
        first = lines.readline()
        told = re.fullmatch(r"\"?sep=([,;\t])\"?", first.strip("\r\n"), re.IGNORECASE)  # for Excel
        delimiter = told[1] if told else max(",;\t", key=lambda mark: _columns_by(first, mark, known))
        if not told:
            lines = _Lines(table, content, encoding)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        yield from ((line + bool(told), cells) for line, cells in _numbered(table, reader, lines))
    except UnicodeError as err:
        raise DataError(
            f"{table}: is not UTF-8 text, expected a table; save it as CSV in UTF-8."
            if encoding == "utf-8-sig"
            else f"{table}: begins like UTF-16 text and is none, expected a table; save it as CSV in UTF-8."
        ) from err


def _columns_by(line: str, mark: str, known: Container[str]) -> tuple[int, int]:
    """Return how many known columns, and how many columns, a first line has if cells are separated by `mark`."""
    try:
        cells = next(csv.reader([line], delimiter=mark), [])
    except csv.Error:
        return 0, line.count(mark)
    return sum(normal(cell) in known for cell in cells), len(cells)


def _numbered(table: Path, reader: Any, lines: "_Lines") -> Iterator[tuple[int, list[str]]]:
    count, begun = 0, 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as err:
            where = f"line {begun}" if reader.line_num <= begun else f"what begins in line {begun}"
            raise DataError(f"{table}: {where} is no line of a table ({err}); correct it, quotes above all.") from err
        if cells is None:
            return
        if len(cells) > MAX_COLUMNS:
            raise DataError(f"{table}: line {begun} has {len(cells):,} cells, expected at most {MAX_COLUMNS:,}.")
        count += 1
        if count > MAX_ROWS:
            raise DataError(f"{table}: has more than {MAX_ROWS:,} lines, expected at most so many; split it.")
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells
        begun, lines.taken = reader.line_num + 1, 0


class _Lines:
    """The lines of a table, decoded one by one; how much of them one row has taken is bounded."""

    def __init__(self, table: Path, content: bytes, encoding: str) -> None:
        self._table = table
        self._stream = io.TextIOWrapper(io.BytesIO(content), encoding=encoding, newline="")
        self.taken = 0  # characters of the row under way

    def readline(self) -> str:
        """Return the next line, empty at the end."""
        line = self._stream.readline(MAX_ROW + 1)
        self.taken += len(line)
        if self.taken > MAX_ROW:
            raise DataError(
                f"{self._table}: has a line of more than {MAX_ROW:,} characters, or a quote that is never closed; "
                "expected a table, so correct it."
            )
        return line

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if line := self.readline():
            return line
        raise StopIteration


def _content(table: Path) -> tuple[bytes, str]:
    """Return the bytes of a table, unpacked, and their encoding."""
    try:
        with table.open("rb") as stream:
            content = stream.read(MAX_TABLE_BYTES + 1)
        if content[:2] == _GZIP:
            with gzip.open(table) as unpacked:
                content = unpacked.read(MAX_TABLE_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise DataError(f"{table}: is damaged, no whole gzip file ({type(err).__name__}); fetch it again.") from err
    except (OSError, ValueError) as err:  # ValueError: a NUL in the path
        reason = getattr(err, "strerror", None) or "its path is none"
        raise DataError(f"{table}: cannot be read ({reason}); expected a readable table.") from err
    if len(content) > MAX_TABLE_BYTES:
        raise DataError(f"{table}: has more than {MAX_TABLE_BYTES:,} bytes, expected a table; split it.")
    if len(content) > 2 and (not any(content[:64:2]) or not any(content[1:64:2])):
        raise DataError(
            f"{table}: is UTF-16 text without the mark that spreadsheets write at its beginning, expected a table in "
            "UTF-8; save it as CSV in UTF-8."
        )
    return content, next(encoding for mark, encoding in _MARKS if content.startswith(mark))
