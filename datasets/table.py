"""Read a table (CSV) of paths and labels, with or without patients and splits; the files may be images or DICOM.

Column names are matched without regard to case. Paths are relative to the table's folder. Where the source is a
folder with one table in it, as DICOM collections come, a path may also be a bare file name or an id without `.dcm`.
"""

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from contract.errors import DataError
from datasets.layout import is_clutter
from datasets.listing import Listing, XrayFile, class_note, file_state, read_file, two_classes

MAX_TABLE_BYTES = 64 << 20
SUFFIXES = (".csv", ".tsv")
_COLUMNS = {  # what a column is called, best first
    "path": ("path", "file", "filename", "file_name", "image_path", "image", "image_id", "dicom_id", "id", "patientid"),
    "label": ("label", "class", "target", "diagnosis", "finding", "finding_labels"),
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id"),
    "split": ("split", "set", "subset", "fold"),
}
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
           "test": "test", "testing": "test"}  # fmt: skip


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    label: str
    patient: str | None
    split: str | None


def list_table(table: Path, *, positive: str | None, folder: Path | None = None) -> Listing:
    """List the files that a table names.

    Args:
        table: the CSV file; separated by commas, semicolons or tabs, UTF-8, with column names in its first line.
        positive: which of the two labels is pneumonia, if they do not say.
        folder: search here, at any depth, for what is not beside the table; None searches nowhere.

    Raises:
        DataError: no table, a column or file is missing, or the labels are not of two classes.
    """
    rows = list(_merged(table, _read_rows(table)))
    if not rows:
        raise DataError(f"{table}: has no rows, expected paths and labels below its first line; fill it.")
    _check_splits(table, rows)
    labels = _labels(table, rows, positive)
    paths = _find(table, rows, folder)
    files = [
        XrayFile(
            row.path,
            labels[row.label],
            row.split,
            None if row.patient is None else f"table {row.patient}",
            file_state(path),
            partial(read_file, path, row.path),
        )
        for row, path in zip(rows, paths, strict=True)
    ]
    splits = tuple(split for split in ("train", "val", "test") if any(row.split == split for row in rows))
    return Listing(table, f"table {table.name}", tuple(files), splits, class_note(labels))


def _read_rows(table: Path) -> Iterator[_Row]:
    """Yield the rows with their meaning."""
    reader = _reader(table)
    try:
        heading: list[str] = next(reader, [])
        columns = _columns(table, heading)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) < len(heading):
                raise DataError(
                    f"{table}: line {reader.line_num} has {len(cells)} cells, expected {len(heading)}; complete it."
                )
            values = {key: cells[at].strip() for key, at in columns.items()}
            for key in ("path", "label"):
                if not values[key] or "\0" in values[key]:
                    raise DataError(f"{table}: line {reader.line_num} has no usable {key}; fill it or remove the line.")
            yield _Row(
                reader.line_num,
                values["path"],
                values["label"],
                values.get("patient") or None,
                _split(table, reader.line_num, values.get("split")),
            )
    except csv.Error as err:
        raise DataError(f"{table}: line {reader.line_num} is no line of a table ({err}); correct it.") from err


def _reader(table: Path) -> Any:
    try:
        size = table.stat().st_size
        if size > MAX_TABLE_BYTES:
            raise DataError(f"{table}: has {size:,} bytes, expected a table of at most {MAX_TABLE_BYTES:,}; split it.")
        text = table.read_bytes().decode("utf-8-sig")
    except OSError as err:
        raise DataError(f"{table}: cannot be read ({err.strerror}); expected a readable table.") from err
    except UnicodeDecodeError as err:
        raise DataError(f"{table}: is not UTF-8 text, expected a table; save it as CSV in UTF-8.") from err
    first = text.partition("\n")[0]
    return csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)


def _columns(table: Path, heading: list[str]) -> dict[str, int]:
    """Return where the columns that we know are."""
    names = [" ".join(cell.split()).lower().replace(" ", "_").replace("-", "_") for cell in heading]
    found = {
        key: names.index(next(name for name in known if name in names))
        for key, known in _COLUMNS.items()
        if any(name in names for name in known)
    }
    for required in ("path", "label"):
        if required not in found:
            shown = ", ".join(ascii(cell)[1:-1][:30] for cell in heading[:8]) or "none"
            raise DataError(
                f"{table}: has the columns {shown}, expected one called 'path' and one called 'label' ('patient' and "
                "'split' are optional); name them in the first line."
            )
    return found


def _split(table: Path, line: int, value: str | None) -> str | None:
    if not value:
        return None
    if value.lower() not in _SPLITS:
        raise DataError(f"{table}: line {line} has the split {value!r}, expected train, val or test; correct it.")
    return _SPLITS[value.lower()]


def _merged(table: Path, rows: Iterator[_Row]) -> Iterator[_Row]:
    """Drop repeated lines, as tables with a line per finding have them; the same image must not have two labels."""
    seen: dict[str, _Row] = {}
    for row in rows:
        first = seen.setdefault(row.path, row)
        if first is row:
            yield row
        elif (first.label.casefold(), first.patient, first.split) != (row.label.casefold(), row.patient, row.split):
            raise DataError(
                f"{table}: lines {first.line} and {row.line} name {row.path!r} and contradict each other, expected one "
                "label, patient and split per image; correct one."
            )


def _labels(table: Path, rows: list[_Row], positive: str | None) -> dict[str, int]:
    """Return the label of every spelling of the two classes."""
    spelling: dict[str, str] = {}
    for row in rows:
        if row.label.casefold() not in spelling and len(spelling) == 2:
            raise DataError(
                f"{table}: line {row.line} has the label {row.label!r}, a third class beside "
                f"{' and '.join(map(repr, spelling.values()))}, expected two; remove or relabel such lines."
            )
        spelling.setdefault(row.label.casefold(), row.label)
    if len(spelling) == 1:
        raise DataError(
            f"{table}: all labels are {rows[0].label!r}, expected images of two classes; add images of the other one."
        )
    labels = two_classes(spelling.values(), positive, where=str(table))
    return {row.label: labels[spelling[row.label.casefold()]] for row in rows}


def _check_splits(table: Path, rows: list[_Row]) -> None:
    """Stop at a split column that is filled in some lines only."""
    empty = [row for row in rows if row.split is None]
    if empty and len(empty) < len(rows):
        raise DataError(
            f"{table}: line {empty[0].line} has no split while others have one; fill the column everywhere or nowhere."
        )


def _find(table: Path, rows: list[_Row], folder: Path | None) -> list[Path]:
    """Return the file of every row."""
    index: dict[str, list[Path]] | None = None
    found, missing = [], []
    for row in rows:
        path = _beside(table.parent, row.path)
        if path is None and folder is not None:
            index = _index(folder) if index is None else index
            path = _once(table, row, index)
        if path is None:
            missing.append(row)
        else:
            found.append(path)
    if missing:
        raise DataError(
            f"{table}: {len(missing)} of {len(rows)} files are not there, the first is {missing[0].path!r} in line "
            f"{missing[0].line}; expected paths relative to {table.parent}, so correct or remove these lines."
        )
    return found


def _beside(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.dcm") if path.exists()), None)


def _index(folder: Path) -> dict[str, list[Path]]:
    """Return all files of a folder, at any depth, by their names with and without a suffix."""
    index: dict[str, list[Path]] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        for name in sorted(names):
            path = Path(place) / name
            for key in {path.name, path.stem}:
                index.setdefault(key, []).append(path)
    return index


def _once(table: Path, row: _Row, index: dict[str, list[Path]]) -> Path | None:
    paths = [path for path in index.get(row.path, []) if path.suffix.lower() not in SUFFIXES]
    if len(paths) > 1:
        raise DataError(
            f"{table}: line {row.line} names {row.path!r}, which is {paths[0]} and {paths[1]}; expected one file, so "
            "write the path out."
        )
    return paths[0] if paths else None
