"""Read a table (CSV) of paths and labels, with or without patients and splits; the files may be images or DICOM.

Column names are matched without regard to case. Paths are relative to the table's folder; a bare file name or an id is
looked for at any depth below it. Several lines may name one image, as tables with a line per box, per finding or per
rater have them: together they say what the image is. The labels may be in a second table, which is joined by the ids
that both have, and the splits in the two lists that ChestX-ray14 has beside its table.
"""

import itertools
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from contract.errors import DataError
from datasets.classes import NamedClasses, Reading, settle_named
from datasets.columns import (
    KNOWN,
    check_label,
    find_columns,
    healthy_columns,
    healthy_says,
    image_columns,
    label_columns,
    patient_columns,
    require_no_more,
    some,
    without_suffix,
)
from datasets.csv_rows import MAX_ROWS, normal, read_rows
from datasets.dicom import names_nobody, same_id
from datasets.folder import FolderTree
from datasets.headings import may_name_patients
from datasets.label_table import LabelTable
from datasets.labels import Classes, Found, LabelRules, Verdict, agreed, settle
from datasets.layout import HIDDEN, is_clutter, walk
from datasets.listing import SPLIT_NAMES, Listing, XrayFile, read_file, shown, state_of
from datasets.other_names import OtherNames
from datasets.remarks import Remarks, folder_notes
from datasets.split_columns import SplitColumns, split_folders

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_Meant = Callable[[str], str | None]  # a cell -> what it says, however it is written; None: something else
_LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}  # ChestX-ray14's files -> the split they list
_TABLE = "table "  # before an id of the table's
_ZERO = f"{_TABLE}0"
_MANY = 10  # images that share an id of something that may be a patient, on average
_FINDINGS = "|"  # between the findings of one cell


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    path: str
    label: str
    patients: tuple[str | None, ...]  # one per column of such ids
    split: str | None
    rater: str
    said: int  # the line that holds the label, of this table or of the one with the labels
    healthy: str  # a column of that line that says that there is nothing; empty: none does
    # Sentences on what other columns say of its label or image, empty where they say nothing:
    other: str = ""  # it is labelled otherwise
    doubt: str = ""
    out: str = ""  # it is not to be used


@dataclass(frozen=True, slots=True)
class _Read:
    """What a table holds."""

    rows: list[_Row]
    left_out: dict[str, list[str]]  # paths without a label, by the reason
    notes: tuple[str, ...]
    splits: tuple[str, ...]  # that any line names, with a label or without
    names: OtherNames
    by_reading: Callable[[Mapping[int, str]], Mapping[int, str]]  # sentences on lines of labels -> by `said`
    joined: tuple[str, ...]  # a sentence on how many lines the table of labels has no label for


@dataclass(frozen=True, slots=True)
class _File:
    """One file that lines name."""

    path: Path
    state: tuple[int, ...]  # what `state_of` returns
    rows: tuple[_Row, ...]


def is_table_name(name: str) -> bool:
    """Return whether a file's name says that it is a table."""
    return name.lower().endswith(SUFFIXES)


def looks_like_table(first_line: bytes) -> bool:
    """Return whether the first line of a file has columns."""
    return any(mark in first_line for mark in (b",", b";", b"\t"))


def list_table(table: Path, *, rules: LabelRules, folder: Path | None = None) -> Listing:
    """List the files that a table names.

    Args:
        table: the CSV file, with column names in its first line.
        rules: which column holds the label, and how labels are read.
        folder: the source, where it is a folder with this table in it: its files in no line are counted. None: the
            source is the table, and the images in its folder that are in no line are.

    Raises:
        DataError: no table, a column or file is missing, or the labels are not of two classes.
    """
    read = _rows(table, rules, folder)
    rows, left_out = read.rows, read.left_out
    if not rows:
        raise DataError(f"{table}: has no rows, expected paths and labels below its first line; fill it.")
    rows, notes = _listed_splits(table, rows, left_out)
    _check_splits(table, rows)
    used = [row for row in rows if not row.out]
    if not used:
        raise DataError(
            f"{table}: all its lines are to be left out, the first {rows[0].out}; correct or remove that column."
        )
    try:
        classes = _classes(table, used, rules) if rules.classes is None else NamedClasses(rules.classes)
    except DataError as err:
        raise DataError(" ".join([str(err), *read.joined])) from err
    rows, other_notes = _with_other_labels(table, rows, read, classes, rules)
    files, path_notes = _find(table, rows, folder)
    files, unused = (
        [file for file in files if not any(row.out for row in file.rows)],
        [file for file in files if any(row.out for row in file.rows)],
    )
    if isinstance(classes, NamedClasses):
        readings = [_reading(file.rows, classes, rules) for file in files]
        labels, label_notes = settle_named(readings, rules, where=str(rules.label_table or table))
    else:
        if rules.positive is None:
            read.names.check(rules.label_table or table, lambda label: classes.meaning(_names(label)))
        found = [_found(file.rows, classes, rules) for file in files]
        labels, label_notes = settle(found, rules, where=str(rules.label_table or table))
    for file in files:
        _check_agreement(table, file.rows)
    listed = [
        XrayFile(
            shown(file.rows[0].path),
            label,
            file.rows[0].split,
            file.rows[0].patients,
            file.state,
            partial(read_file, file.path, shown(file.rows[0].path)),
        )
        for file, label in zip(files, labels, strict=True)
        if label is not None
    ]
    splits = tuple(split for split in ("train", "val", "test") if any(file.split == split for file in listed))
    named = {*read.splits, *(row.split for row in rows)}
    count = sum(len(file.rows) for file in files)
    spoken = (f"{count:,} lines name {len(files):,} images.",) if len(files) < count else ()
    notes = (
        *classes.note,
        *notes,
        *read.notes,
        *path_notes,
        *folder_notes(file.rows[0].path for file in files),
        *spoken,
        *label_notes,
        *other_notes,
    )
    left_out |= _unnamed(folder, table, [*files, *unused], left_out)
    for file in unused:
        left_out.setdefault(next(row.out for row in file.rows if row.out), []).append(file.rows[0].path)
    return Listing(
        table,
        f"table {shown(table.name)}",
        tuple(listed),
        splits,
        notes,
        left_out,
        tuple(file.path for file in files),
        tuple(split for split in ("train", "val", "test") if split in named and split not in splits),
    )


# --- lines


def _rows(table: Path, rules: LabelRules, folder: Path | None) -> _Read:
    """Return the lines with their meaning."""
    lines = read_rows(table, KNOWN)
    _, heading = next(lines, (1, []))
    columns = find_columns(table, heading, rules, need=("path", "label") if rules.label_table is None else ("path",))
    columns["path"] = _image_column(table, heading, columns, folder)
    joined = None
    if rules.label_table is not None:
        joined = LabelTable(rules.label_table, rules, first=table, heading=heading, path=columns["path"])
    twins = _twins(heading)
    patients = patient_columns(heading, columns["path"])
    if joined is not None and joined.patients and not patients:
        raise DataError(
            f"{rules.label_table}: column {joined.patients[0].strip()[:80]!r} names the patients, expected in "
            f"{table.name}, beside the paths; move it there, or rename it if it names something else."
        )
    known = {at for at, cell in enumerate(heading) if normal(cell) in KNOWN}
    others = SplitColumns(heading, {*known, *patients, *columns.values()})
    names = OtherNames(heading, columns["label"]) if joined is None else joined.names
    nothing = healthy_columns(heading, columns.get("label"), rules)
    remarks = Remarks(heading, {*known, *patients, *columns.values()})
    repeated = _Repeated(heading, () if patients else {*range(len(heading))} - {*columns.values()})
    width = max((at for at, cell in enumerate(heading, 1) if cell.strip()), default=0)
    rows, unlabelled, splits = [], list[str](), set[str | None]()
    for line, cells in lines:
        if len(cells) < width:
            raise DataError(f"{table}: line {line} has {len(cells)} cells, expected {width}; complete it.")
        require_no_more(table, line, cells, heading)
        values = {key: cells[at].strip() for key, at in columns.items()}
        if not values["path"] or "\0" in values["path"]:
            raise DataError(f"{table}: line {line} has no usable path; fill it or remove the line.")
        check_label(table, line, values.get("label", ""))
        others.add(cells)
        remarks.add(line, cells)
        repeated.add(cells)
        for columns_at, meant in twins:
            _check_twins(table, line, [(heading[at], cells[at].strip()) for at in columns_at], meant)
        split = _split(table, line, values.get("split"))
        ids = tuple(_patient(table, line, cells[at]) for at in patients)
        splits.add(split)
        healthy = healthy_says(heading, nothing, cells)
        row = _Row(line, values["path"], values.get("label", ""), ids, split, values.get("rater", ""), line, healthy)
        if joined is None:
            names.add(cells)
            names.add_path(row.label, row.path)
            rows.append(row)
        else:
            said = joined.of(cells, row.path)
            unlabelled += [] if said else [row.path]
            if len(rows) + len(said) > MAX_ROWS:
                raise DataError(
                    f"{table}: has more than {MAX_ROWS:,} labels after joining {rules.label_table}, expected at most "
                    "so many; does 'data.label_table' hold one line per image or study?"
                )
            for one in said:
                names.add_path(one.label, row.path)
                healthy = one.healthy or row.healthy
                rows.append(replace(row, label=one.label, rater=one.rater, said=one.line, healthy=healthy))
    rows = _without_zeros(rows, len(patients))
    remarks.settle()
    doubt, out = [remarks.doubt], [remarks.out]
    by_reading: Callable[[Mapping[int, str]], Mapping[int, str]] = dict
    if joined is not None:
        joined.remarks.settle()
        by_reading = joined.by_reading
        doubt, out = [remarks.doubt, by_reading(joined.remarks.doubt)], [remarks.out, by_reading(joined.remarks.out)]
    if any(doubt) or any(out):
        rows = [replace(row, doubt=_said(row, doubt), out=_said(row, out)) for row in rows]
    if joined is not None and unlabelled and not rows:
        raise DataError(
            f"{table}: none of its {len(unlabelled):,} lines finds a label, since no {joined.ids} of theirs is in "
            f"{rules.label_table}; expected the same ids in both, so correct 'data.label_table' or the ids."
        )
    if splits <= {None}:
        _check_other_splits(table, others)
        if joined is not None and rules.label_table is not None:
            _check_other_splits(rules.label_table, joined.others, of_images=table)
    cohorts = others.cohorts() if splits <= {None} else ()
    if (other := others.found()) is not None:  # `split` was there
        cohorts = (f"Column {other[:80]!r} looks like splits and is not read: another column says them.",)
    notes = (
        *cohorts,
        *(joined.check() if joined is not None else ()),
        *remarks.notes,
        *(joined.remarks.notes if joined is not None else ()),
        *repeated.notes(len({row.path for row in rows})),
    )
    if rules.label_table is not None and (own := label_columns(heading, rules)):
        other = shown(rules.label_table.name)
        notes += (f"Column {own[0][:80]!r} of {shown(table.name)} is not read: {other} has the labels.",)
    missing = {f"in no line of {shown(rules.label_table.name)}": unlabelled} if rules.label_table else {}
    found: tuple[str, ...] = ()
    if joined is not None and unlabelled:
        found = (f"Of the lines of {shown(table.name)} {len(unlabelled):,} find no label there by {joined.ids}.",)
    return _Read(rows, missing, notes, tuple(split for split in splits if split), names, by_reading, found)


def _said(row: _Row, sentences: Sequence[Mapping[int, str]]) -> str:
    """Return what is said of a line by its own table, or of its label by the table that holds it."""
    return sentences[0].get(row.line) or (sentences[1].get(row.said, "") if len(sentences) > 1 else "")


def _image_column(table: Path, heading: Sequence[str], columns: Mapping[str, int], folder: Path | None) -> int:
    """Return which column names the images: of several, the one whose cells name files that are there.

    A number is no evidence: a line's may be another image's name. So numbers are taken only where nothing else can
    be meant, and 'id' and 'patientid' only where no other column names files, whatever it is called.
    """
    levels = image_columns(heading)
    candidates = [at for level in levels for at in level]
    others = [at for at in range(len(heading)) if at not in (*candidates, *columns.values())]
    if levels[0] or levels[1]:
        others = []
    if len(candidates) + len(others) < 2:
        return columns["path"]
    cells: dict[int, set[str]] = {at: set() for at in (*candidates, *others)}
    for _, line in _body(table):
        for at in list(cells):
            cell = line[at].strip() if at < len(line) else ""
            if at in others and _is_number(cell):
                del cells[at]
            elif cell:
                cells[at].add(cell)
    there = _there(table, folder, cells)
    levels[2][:0] = [at for at in others if at in cells and 2 * there[at] > len(cells[at])]
    texts = {at for level in levels for at in level if not all(map(_is_number, cells[at]))}
    for kind, level in enumerate(levels):
        found = [at for at in level if there[at] and (kind < 2 or at in texts)]
        if texts & {*found}:
            rest = [
                at for before in levels[:2] for at in before if there[at] and (at in texts or before in levels[:kind])
            ]
            _check_same_file(table, heading, [*found, *(at for at in rest if at not in found)])
            return next(at for at in found if at in texts)
    named = {*levels[0], *levels[1]}
    likely = [at for at in candidates if at in texts & named] or [at for at in candidates if at in named] or candidates
    return next((at for at in likely if there[at]), likely[0])


def _check_same_file(table: Path, heading: Sequence[str], columns: Sequence[int]) -> None:
    """Stop at a line in which the cells of several columns, which all name files that are there, name two."""
    for line, cells in _body(table) if len(columns) > 1 else ():
        said = [(heading[at], cells[at].strip()) for at in columns if at < len(cells)]
        bare = any(_file_name(cell) == _file_name(f"{cell}.png") for _, cell in said)  # without a suffix
        _check_twins(table, line, said, _file_name if bare else _full_name)


def _body(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Return the lines below the first."""
    return itertools.islice(read_rows(table, KNOWN), 1, None)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?[\d.,]*", cell) is not None and cell != ""


class _Repeated:
    """Columns of ids that are not known to be anything: they may be the patients'."""

    def __init__(self, heading: Sequence[str], unknown: Iterable[int]) -> None:
        self._cells: dict[str, set[str]] = {}
        self._at = [at for at in sorted(unknown) if may_name_patients(heading[at])]
        self._heading = heading

    def add(self, cells: Sequence[str]) -> None:
        """Look at the cells of one line."""
        for at in self._at:
            self._cells.setdefault(self._heading[at].strip(), set()).add(cells[at].strip())

    def notes(self, images: int) -> tuple[str, ...]:
        """Name the columns that group the images, by few or some each."""
        return tuple(
            f"Column {name[:80]!r} has {len(seen):,} ids for {images:,} images: if they are patients', call it "
            "'patient'."
            for name, seen in self._cells.items()
            if len(seen) < images <= _MANY * len(seen)
        )


def _patient(table: Path, line: int, cell: str) -> str | None:
    """Return what all spellings of a patient's id have in common; None: it names nobody."""
    if re.fullmatch(r"\d([.,]\d+)?E[+-]?\d+", cell.strip(), re.IGNORECASE) and not cell.strip().isalnum():
        raise DataError(
            f"{table}: line {line} has the patient {cell.strip()[:40]!r}, a number as spreadsheets shorten it, which "
            "may be several ids, expected the whole id; save the column as text, or rename it if it holds no patients."
        )
    return None if names_nobody(cell.strip()) else f"{_TABLE}{same_id(cell.strip())}"


def _without_zeros(rows: list[_Row], columns: int) -> list[_Row]:
    """Take 0, 000 and the like for nobody, unless it may be the first of patients that are numbered from 0."""
    nobody = [_counts_from_zero({row.patients[at] for row in rows}, len(rows)) is False for at in range(columns)]
    if not any(nobody):
        return rows
    return [
        replace(
            row,
            patients=tuple(
                None if drop and known == _ZERO else known for known, drop in zip(row.patients, nobody, strict=True)
            ),
        )
        for row in rows
    ]


def _counts_from_zero(ids: Collection[str | None], lines: int) -> bool | None:
    """Return whether numbers beside an id of zeros are as short as those of so many lines; None: there is none."""
    if _ZERO not in ids:
        return None
    others = (known.removeprefix(_TABLE) for known in ids if known not in (None, _ZERO))
    return any(other.isdecimal() and len(other) <= len(str(lines)) for other in others)


def _check_other_splits(table: Path, others: SplitColumns, of_images: Path | None = None) -> None:
    """Stop at a column that looks like the splits where no column is known to be: its test images would train."""
    if (column := others.found()) is not None:
        place = "" if of_images is None else f" in {of_images.name}"
        raise DataError(
            f"{table}: column {column[:80]!r} looks like splits, which are expected in one called 'split'{place} with "
            f"train, val or test; {'rename it' if of_images is None else 'move it there'}, or remove it to have the "
            "images divided."
        )


def _twins(heading: Sequence[str]) -> list[tuple[list[int], _Meant]]:
    """Return where several columns mean one thing, in which every line has to say the same, and what a cell means."""
    names = [normal(cell) for cell in heading]
    found = [([at for at, name in enumerate(names) if name in known], meant) for known, meant in _TWINS]
    return [(at, meant) for at, meant in found if len(at) > 1]


def _check_twins(table: Path, line: int, said: Sequence[tuple[str, str]], meant: _Meant) -> None:
    """Stop at a line in which two columns that mean one thing say two: nothing tells which of them is right."""
    filled = [(name, cell, what) for name, cell in said if cell and (what := meant(cell)) is not None]
    other = next((one for one in filled if one[2] != filled[0][2]), None)
    if other is not None:
        (first, one, _), (second, two, _) = filled[0], other
        raise DataError(
            f"{table}: line {line} has {one[:80]!r} as {first.strip()!r} and {two[:80]!r} as {second.strip()!r}, "
            "expected one of the two columns, or the same in both; remove or rename the wrong one."
        )


def _full_name(cell: str) -> str:
    return PurePosixPath(cell.replace("\\", "/")).name.casefold()


def _file_name(cell: str) -> str:
    return without_suffix(_full_name(cell))


def _split_name(cell: str) -> str | None:
    return SPLIT_NAMES.get(cell.lower())  # None: it says something else, such as the name of a collection


_TWINS: tuple[tuple[tuple[str, ...], _Meant], ...] = (
    (("path", "file", "filename", "file_name", "image_path", "image"), _file_name),
    (("split", "set", "subset", "fold"), _split_name),
)


def _split(table: Path, line: int, value: str | None) -> str | None:
    if not value:
        return None
    if value.lower() not in SPLIT_NAMES:
        raise DataError(f"{table}: line {line} has the split {value[:40]!r}, expected train, val or test; correct it.")
    return SPLIT_NAMES[value.lower()]


def _listed_splits(table: Path, rows: list[_Row], left_out: dict[str, list[str]]) -> tuple[list[_Row], tuple[str, ...]]:
    """Take the splits from ChestX-ray14's two lists, where they lie beside a table that has none."""
    if any(row.split for row in rows):
        return rows, ()
    lists = _lists(table)
    if not lists:
        return rows, ()
    if missing := set(_LISTS) - set(lists):
        raise DataError(
            f"{table}: {next(iter(lists.values())).name} lies beside it but no {missing.pop()}, expected both lists of "
            "splits; put it there, or move the other one away to have the images divided."
        )
    splits: dict[str, str] = {}
    for name, path in lists.items():
        for _, cells in read_rows(path, ()):
            if splits.setdefault(_listed_name(cells[0]), _LISTS[name]) != _LISTS[name]:
                raise DataError(
                    f"{path}: lists {cells[0].strip()[:80]!r}, which {lists['train_val_list.txt'].name} lists too; "
                    "correct one."
                )
    of_row = [splits.get(_listed_name(row.path)) for row in rows]
    known = [replace(row, split=split) for row, split in zip(rows, of_row, strict=True) if split]
    if not known:
        raise DataError(
            f"{table}: names no image that {' or '.join(_LISTS)} beside it lists, the first is "
            f"{rows[0].path[:80]!r}; expected lists of its images, so correct them, or move them away to have the "
            "images divided."
        )
    absent = [row.path for row, split in zip(rows, of_row, strict=True) if not split]
    left_out[f"in neither {' nor '.join(_LISTS)}"] = absent
    return known, (f"{' and '.join(_LISTS)} say the splits.",)


def _lists(table: Path) -> dict[str, Path]:
    """Return ChestX-ray14's lists beside a table, by their names, however those are written."""
    try:
        with os.scandir(table.parent) as entries:
            return {entry.name.lower(): Path(entry.path) for entry in entries if entry.name.lower() in _LISTS}
    except OSError:  # a folder that may be entered and not listed
        return {name: table.with_name(name) for name in _LISTS if table.with_name(name).is_file()}


def _listed_name(path: str) -> str:
    """Return what a list and a table have in common: names without folders and in any case."""
    return PurePosixPath(path.strip().replace("\\", "/")).name.casefold()


def _check_splits(table: Path, rows: list[_Row]) -> None:
    """Stop at a split column that is filled in some lines only, and at folders that are one where no column is."""
    if all(row.split is None for row in rows) and (folders := split_folders(row.path for row in rows)):
        raise DataError(
            f"{table}: its paths lie in folders that look like splits, {some(folders)}, expected a column 'split' "
            "that says so; add it, with train, val or test in every line."
        )
    empty = [row for row in rows if row.split is None]
    if empty and len(empty) < len(rows):
        raise DataError(
            f"{table}: line {empty[0].line} has no split while others have one; fill the column everywhere or nowhere."
        )


# --- labels


def _classes(table: Path, rows: list[_Row], rules: LabelRules) -> Classes:
    names: dict[str, str] = {}
    for row in rows:
        for name in _names(row.label):
            names.setdefault(name, f"line {row.said}")
    return Classes(names, rules, where=str(rules.label_table or table))


def _with_other_labels(
    table: Path, rows: list[_Row], read: _Read, classes: Classes | NamedClasses, rules: LabelRules
) -> tuple[list[_Row], tuple[str, ...]]:
    """Find the lines that another column labels otherwise; where the user names the one that counts, only say so."""

    def label_says(label: str) -> int | None:
        if isinstance(classes, NamedClasses):
            said = {classes.known(name) for name in _names(label)}
            return said.pop() if len(said) == 1 else None
        verdict = classes.meaning(_names(label))
        return verdict if verdict in (Verdict.NEGATIVE, Verdict.POSITIVE) else None

    positive = None if isinstance(classes, NamedClasses) else classes.positive or ""
    notes: tuple[str, ...] = ()
    if isinstance(classes, Classes) and (strays := read.names.strays(label_says)):
        notes = (f"{strays:,} paths name the other class than their label, which changes nothing.",)
    columns = read.names.contradictions(label_says, classes.known, positive, answered=rules.positive is not None)
    if not columns:
        return rows, notes
    found = [*read.names.contradicting(_body(rules.label_table or table), columns)]
    if rules.label is None:
        said = read.by_reading({line: sentence for _, line, sentence in found})
        return [replace(row, other=said.get(row.said, "")) for row in rows], notes
    counts = Counter(at for at, _, _ in found)
    first = {at: sentence for at, _, sentence in reversed(found)}
    return rows, notes + tuple(
        f"{count:,} lines are labelled otherwise by a column that 'data.label' does not name: "
        f"{first[at].partition(', expected')[0]}."
        for at, count in counts.items()
    )


def _names(label: str) -> list[str]:
    return [name.strip() for name in label.split(_FINDINGS)]


def _found(rows: Sequence[_Row], classes: Classes, rules: LabelRules) -> Found:
    """Return what all lines of one image make of it: each rater's together, and then all raters'."""
    if rules.blank == "refuse":  # then a line without a label is a mistake, whatever the image's other lines say
        for row in rows:
            if classes.verdict(_names(row.label)) == Verdict.BLANK:
                return Found(Verdict.BLANK, f"line {row.said}", row.label)
    by_rater: dict[str, list[_Row]] = {}
    for row in rows:
        by_rater.setdefault(row.rater, []).append(row)
    verdict = agreed(_opinion(of_one, classes) for of_one in by_rater.values())
    first = next((row for row in rows if classes.verdict(_names(row.label)) == verdict), rows[0])
    text = first.label if verdict != Verdict.CONFLICT else _contradiction(rows, classes)
    doubt = next((row.doubt for row in rows if row.doubt), "") if verdict == Verdict.UNCERTAIN else ""
    return Found(verdict, f"line {first.said}", text, doubt)


def _opinion(rows: Sequence[_Row], classes: Classes) -> Verdict:
    """Return what one rater says of an image."""
    verdict = classes.verdict([name for row in rows for name in _names(row.label)])
    if (verdict == Verdict.POSITIVE and any(row.healthy for row in rows)) or (
        verdict in (Verdict.NEGATIVE, Verdict.POSITIVE) and any(row.other for row in rows)
    ):
        return Verdict.CONFLICT
    return Verdict.UNCERTAIN if verdict != Verdict.OTHER and any(row.doubt for row in rows) else verdict


def _reading(rows: Sequence[_Row], classes: NamedClasses, rules: LabelRules) -> Reading:
    """Do the same of the classes that the user has named."""

    def read(row: _Row, labels: Sequence[str], healthy: str) -> Reading:
        return classes.read(labels, file=row.path.replace("\\", "/"), place=f"line {row.said}", healthy=healthy)

    if rules.blank == "refuse":
        for row in rows:
            if (reading := read(row, _names(row.label), "")).why == "blank":
                return reading
    by_rater: dict[str, list[_Row]] = {}
    for row in rows:
        by_rater.setdefault(row.rater, []).append(row)
    said = [
        read(
            of_one[0],
            [name for row in of_one for name in _names(row.label)],
            next((row.healthy for row in of_one if row.healthy), ""),
        )
        for of_one in by_rater.values()
    ]
    name = rows[0].path if len(rows[0].path) <= 80 else f"{rows[0].path[:80]}..."
    reading = classes.agreed(said, place=repr(name))
    if reading.why == "uncertain":
        alone = (read(row, _names(row.label), "") for row in rows)
        reading = next((one for one in alone if one.why == "uncertain"), reading)
    if reading.label is not None and (other := next((row.other for row in rows if row.other), "")):
        return replace(reading, label=None, why="conflict", text=other)
    if reading.why in ("", "blank") and (doubt := next((row.doubt for row in rows if row.doubt), "")):
        return replace(reading, label=None, why="uncertain", doubt=doubt)
    return reading


def _contradiction(rows: Sequence[_Row], classes: Classes) -> str:
    """Name two lines of one image that are of different opinions, or the one that is of both."""
    first, name = rows[0], rows[0].path if len(rows[0].path) <= 80 else f"{rows[0].path[:80]}..."
    if (both := next((row for row in rows if row.healthy and _opinion([row], classes) == Verdict.CONFLICT), None)) and (
        len({row.said for row in rows}) == 1
    ):
        return (
            f"line {both.said} has the label {both.label[:40]!r} and says yes to {both.healthy!r}, expected one label "
            "per image"
        )
    if said := next((row.other for row in rows if row.other), ""):
        return said
    opinion = classes.verdict(_names(first.label))
    other = next((row for row in rows if classes.verdict(_names(row.label)) != opinion), first)
    if other.said == first.said:
        return f"line {first.said} labels {name!r} both ways, expected one label per image"
    return f"lines {first.said} and {other.said} name {name!r} and contradict each other, expected one label per image"


# --- files


def _find(table: Path, rows: list[_Row], folder: Path | None) -> tuple[list[_File], tuple[str, ...]]:
    """Return every file that is named, once, with all lines that name it by whatever path, and what to say about it."""
    by_path: dict[str, list[_Row]] = {}
    for row in rows:
        by_path.setdefault(row.path, []).append(row)
    top = _renamed_top(table.parent, by_path)
    index: dict[str, list[Path]] | None = None
    beside: dict[Path, dict[str, list[Path]]] = {}
    files: dict[tuple[int, ...] | str, _File] = {}
    missing = []
    for name, named in by_path.items():
        path, state = _beside(table.parent, name, top)
        if path is None:
            index = _index(table, folder, by_path) if index is None else index
            path, state = _once(table, named[0], index.get(name, []))
        elif path == table.parent / f"{name}.dcm":
            if path.parent not in beside:
                beside[path.parent] = _images_in(path.parent)
            _once(table, named[0], beside[path.parent].get(without_suffix(path.name), []))
        if path is None or state is None:
            missing.append(named[0])
            continue
        # One file may have several paths: ./x and x, links, another case on some disks.
        identity = (state.st_dev, state.st_ino) if state.st_ino else os.path.normpath(path)
        before = files.get(identity)
        known = before.rows if before else ()
        files[identity] = _File(before.path if before else path, state_of(state), (*known, *named))
    missing = [row for row in missing if not any(one.out for one in by_path[row.path])]
    if missing:
        raise _missing(table, missing, len(by_path))
    said = f"All paths begin with {shown(top or '')[:80]!r}, a folder that is not there: it was left out of them."
    return list(files.values()), (said,) if top else ()


def _there(table: Path, folder: Path | None, cells: Mapping[int, set[str]]) -> dict[int, int]:
    """Return how many of the cells of each column name files that are there."""
    index = _index(table, folder, set[str]().union(*cells.values()))
    tops = {at: _renamed_top(table.parent, some) for at, some in cells.items()}
    return {
        at: sum(cell in index or _beside(table.parent, cell, tops[at])[0] is not None for cell in some)
        for at, some in cells.items()
    }


def _renamed_top(folder: Path, names: Iterable[str]) -> str | None:
    """Return the folder that all paths begin with where it is not there; None: there is none.

    CheXpert's tables lie in the folder that their paths begin with, and people rename it. Where only some paths begin
    with it, or each with another, leaving it out could read another file than the one that is meant.
    """
    paths = [name.replace("\\", "/") for name in names]
    tops = {path.partition("/")[0] if path.count("/") > 1 else "" for path in paths}
    top = tops.pop() if len(tops) == 1 else ""
    return top if top and _stat(folder / top) is None else None


def _missing(table: Path, missing: list[_Row], total: int) -> DataError:
    first = missing[0].path if len(missing[0].path) <= 120 else f"{missing[0].path[:120]}..."
    folder = _stat(table.parent / missing[0].path)
    return DataError(
        f"{table}: {len(missing)} of {total} files are not there, the first is {first!r} in line {missing[0].line}"
        f"{', a folder without a file of that name' if folder else ''}; expected paths relative to {table.parent}, so "
        "correct or remove these lines."
    )


def _check_agreement(table: Path, rows: Sequence[_Row]) -> None:
    """Stop at one image with two patients or two splits."""
    first = rows[0]
    for row in rows:
        if (row.patients, row.split) != (first.patients, first.split):
            raise DataError(
                f"{table}: lines {first.line} and {row.line} name {first.path[:120]!r} and contradict each other, "
                "expected one patient and split per image; correct one."
            )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # too long a name, a NUL
        return None


def _beside(folder: Path, name: str, top: str | None) -> tuple[Path | None, os.stat_result | None]:
    """Look for a path as it is written, or as it was meant where the folder of the table or the system was another."""
    for candidate in _spellings(name, top):
        path = folder / candidate
        state = _stat(path)
        if state is not None and stat.S_ISREG(state.st_mode):
            return path, state
    return None, None


def _spellings(name: str, top: str | None) -> Iterator[str]:
    """Yield the paths that a cell may mean, the likeliest first; `top` is a folder to leave out."""
    yield name
    yield f"{name}.dcm"
    slashed = name.replace("\\", "/")
    if slashed != name:
        yield slashed
    if top is not None:
        yield slashed.removeprefix(f"{top}/")


def _index(table: Path, folder: Path | None, wanted: Iterable[str]) -> dict[str, list[Path]]:
    """Return the files of a folder, at any depth, that have a wanted name, with or without a suffix."""
    names, index, root = set(wanted), dict[str, list[Path]](), folder or table.parent
    try:
        for path in walk(FolderTree(root)):
            base = path.rpartition("/")[2]
            if any(map(is_clutter, path.split("/"))) or is_table_name(base):
                continue
            for key in {base, without_suffix(base)} & names:
                index.setdefault(key, []).append(root / path)
    except DataError:
        if folder is not None:
            raise
        return {}  # a table among everything else that somebody has: only what is beside it can be meant
    return index


def _images_in(folder: Path) -> dict[str, list[Path]]:
    """Return the images in a folder by their names without suffix."""
    images: dict[str, list[Path]] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for name in sorted(entry.name for entry in entries if not is_clutter(entry.name)):
            if without_suffix(name) != name:
                images.setdefault(without_suffix(name), []).append(folder / name)
    return images


def _once(table: Path, row: _Row, paths: Sequence[Path]) -> tuple[Path | None, os.stat_result | None]:
    if len(paths) > 1:
        raise DataError(
            f"{table}: line {row.line} names {row.path[:120]!r}, which is {shown(str(paths[0]))} and "
            f"{shown(str(paths[1]))}; expected one file, so write the path out."
        )
    return (paths[0], _stat(paths[0])) if paths else (None, None)


def _unnamed(
    folder: Path | None, table: Path, files: list[_File], left_out: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Return the files of a folder that no line names; where the source is the table alone, the images beside it.

    Args:
        folder: what `list_table` takes.
        table: the table.
        files: what its lines name.
        left_out: paths of lines that were left out before they were looked for, by the reason: they are counted.
    """
    root, named = folder or table.parent, {os.path.normpath(file.path) for file in files}
    spoken = set[str]()
    for paths in left_out.values():
        top = _renamed_top(table.parent, paths)
        spoken |= {os.path.normpath(name) for path in paths for name in _spellings(path, top)}
    kinds: dict[str, list[str]] = {}
    try:
        for path in walk(FolderTree(root)):
            base, clutter = path.rpartition("/")[2], any(map(is_clutter, path.split("/")))
            if folder is None and (clutter or without_suffix(base) == base):
                continue
            if os.path.normpath(root / path) in named or root / path == table or path.lower() in _LISTS:
                continue
            if not spoken.isdisjoint((path, without_suffix(path), base, without_suffix(base))):
                continue
            kinds.setdefault(HIDDEN if clutter else f"in no line of {shown(table.name)}", []).append(path)
    except DataError:
        if folder is not None:
            raise
        return {}  # a table alone may lie among everything that somebody has
    return kinds
