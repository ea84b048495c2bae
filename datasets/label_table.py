"""Read the labels of a second table, and join them by the ids that both tables have.

A label may be an image's, a study's or a patient's. All columns of ids that both have are the key, spelled as they may
be, and so is a column of file names beside the paths. A key without an image's name is a coarse one: each label
counts for all images that share it. That is right only where nothing tells these images apart: so lines of one coarse
key that disagree are refused, and so is a column that is no id and differs within a key, or that holds names of files.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from contract.errors import DataError
from datasets.columns import (
    COLUMNS,
    KNOWN,
    check_label,
    find_columns,
    healthy_columns,
    healthy_says,
    patient_columns,
    require_no_more,
    without_suffix,
)
from datasets.csv_rows import normal, read_rows
from datasets.headings import joined, names_exams, names_images, names_patients, names_something
from datasets.labels import LabelRules, plain
from datasets.other_names import OtherNames
from datasets.remarks import Remarks
from datasets.split_columns import SplitColumns

MAX_READINGS = 200  # different labels of one image or study
_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a line says."""

    line: int
    label: str
    rater: str
    healthy: str  # a column of this line that says that there is nothing; empty: none does


class LabelTable:
    """The labels of a second table, for the lines of a first one."""

    def __init__(self, table: Path, rules: LabelRules, *, first: Path, heading: list[str], path: int) -> None:
        """Read the table.

        Args:
            table: the file.
            rules: which column holds the label.
            first: the table of the images, for messages.
            heading: its first line.
            path: which column of it holds the paths.

        Raises:
            DataError: it is no such table, or shares no id with the first.
        """
        self._table, self._first = table, first
        lines = read_rows(table, KNOWN)
        _, own = next(lines, (1, []))
        columns = find_columns(table, own, rules, need=("label",))
        self._pair(heading, own, path, {at for key, at in columns.items() if key in ("label", "rater")})
        at = [i for _, i in self._keys]
        self.patients = [own[i] for i in patient_columns(own, path=-1) if i not in at]
        known = {name for key, names in COLUMNS.items() if key != "split" for name in names}
        self.others = SplitColumns(
            own, {i for i, name in enumerate(own) if normal(name) in known} | {*at, columns["label"]}
        )
        self._own, self.names = own, OtherNames(own, columns["label"])
        self.remarks = Remarks(own, {*at, *columns.values()})
        nothing = healthy_columns(own, columns["label"], rules)
        self._said: dict[_Key, list[Reading]] = {}
        self._same: dict[int, int] = {}  # a line -> the one before it that says the same
        self._folders = False  # whether a name of an image has one
        self._cells: dict[int, set[str]] = (  # different ones, of what is no key
            {} if self._of_images else {i: set() for i in range(len(own)) if i not in (*at, *columns.values())}
        )
        self._within_own, self._within_first = _Within(), _Within()
        self._images: dict[_Key, set[str]] = {}  # paths of the first table, by what they are found by
        for line, cells in lines:
            if len(cells) <= max(*at, *columns.values()):
                raise DataError(f"{table}: line {line} has {len(cells)} cells, expected {len(own)}; complete it.")
            require_no_more(table, line, cells, own)
            values = {key: cells[i].strip() for key, i in columns.items()}
            check_label(table, line, values["label"])
            self.others.add(cells)
            self.names.add(cells)
            self.remarks.add(line, cells)
            healthy = healthy_says(own, nothing, cells)
            self._add(cells, Reading(line, values["label"], values.get("rater", ""), healthy))

    def _pair(self, heading: list[str], own: list[str], path: int, taken: Collection[int]) -> None:
        """Find the columns of both tables that are one: the ids among them are the key."""
        ours = {joined(cell): i for i, cell in reversed([*enumerate(own)]) if i not in taken and joined(cell)}
        shared = [(at, ours[name]) for at, cell in enumerate(heading) if (name := joined(cell)) in ours]
        keys = [(at, i) for at, i in shared if at == path or names_something(heading[at])]
        if not any(at == path or names_images(heading[at]) for at, _ in keys):
            keys += [(path, i) for i, cell in enumerate(own) if i not in taken and names_images(cell)][:1]
        if not keys:
            raise DataError(
                f"{self._table}: shares no id with {self._first}, expected a column such as image_id, study_id or "
                "patient_id in both; correct 'data.label_table'."
            )
        self._keys, self._rest = keys, [pair for pair in shared if pair not in keys]
        self._named = [at == path or names_images(heading[at]) for at, _ in keys]
        self._of_images = any(self._named)
        self._coarse = all(names_patients(heading[at]) or names_exams(heading[at]) for at, _ in keys)
        names = [(heading[at].strip()[:80], own[i].strip()[:80]) for at, i in keys]
        self.ids = " and ".join(one if joined(one) == joined(two) else f"{one} ({two})" for one, two in names)

    def _add(self, cells: list[str], reading: Reading) -> None:
        key = tuple(
            _image(cells[i], keep=True) if named else _same_id(cells[i])
            for (_, i), named in zip(self._keys, self._named, strict=True)
        )
        self._folders |= any("/" in part for part, named in zip(key, self._named, strict=True) if named)
        if not self._of_images:
            self._within_own.add(key, [cells[i] if i < len(cells) else "" for _, i in self._rest])
            for i, seen in self._cells.items():
                seen.add(_image(cells[i], keep=False) if i < len(cells) else "")
        said = self._said.setdefault(key, [])
        new = (reading.label, reading.rater, reading.healthy)
        if same := next((one for one in said if (one.label, one.rater, one.healthy) == new), None):
            self._same[reading.line] = same.line
            return
        said.append(reading)
        if len(said) > MAX_READINGS:
            raise DataError(
                f"{self._table}: line {reading.line} is one of more than {MAX_READINGS} different labels of one "
                f"{self.ids}, expected those of an image or a study; correct 'data.label_table'."
            )

    def of(self, cells: list[str], path: str) -> list[Reading]:
        """Return what all lines say about the image of these cells of the first table."""
        key = tuple(
            _image(cells[at], keep=self._folders) if named else _same_id(cells[at])
            for (at, _), named in zip(self._keys, self._named, strict=True)
        )
        found = self._said.get(key, [])
        if found:
            self._images.setdefault(key, set()).add(path)
            self._within_first.add(key, [cells[at] for at, _ in self._rest])
        return found

    def by_reading(self, sentences: Mapping[int, str]) -> dict[int, str]:
        """Return sentences on lines by the lines of the readings that stand for them."""
        found: dict[int, str] = {}
        for line, sentence in sentences.items():
            found.setdefault(self._same.get(line, line), sentence)
        return found

    def check(self) -> tuple[str, ...]:
        """Stop where labels went to images that they are not of, after all images were asked for; return notes."""
        several = {key: paths for key, paths in self._images.items() if len(paths) > 1}
        if self._of_images and not self._folders and several:
            raise self._ambiguous(*sorted(next(iter(several.values())))[:2])
        if self._of_images or not (several or self._coarse):
            return ()
        if (at := next(iter(self._within_own.differ | self._within_first.differ), None)) is not None:
            name = self._own[self._rest[at][1]].strip()[:80]
            raise self._too_coarse(
                f"column {name!r} of both tables differs within one {self.ids}", f" or remove {name!r}"
            )
        for key in self._images:
            if pair := _disagreement(self._said[key]):
                raise self._too_coarse(
                    f"lines {pair[0]} and {pair[1]} give one {self.ids} two labels",
                    f" or give each {self.ids} one line",
                )
        stems = {_image(path, keep=False) for paths in self._images.values() for path in paths}
        for i, seen in self._cells.items():
            if len(seen) >= len(self._said) and 2 * len(seen & stems) > len(seen):
                name = self._own[i].strip()[:80]
                raise self._too_coarse(f"column {name!r} holds names of images", f" or call {name!r} 'image'")
        if not several:
            return ()
        count = sum(map(len, several.values()))
        return (f"{count:,} images share their {self.ids} with others: a label of {self._table.name} counts for all.",)

    def _too_coarse(self, found: str, advice: str) -> DataError:
        return DataError(
            f"{self._table}: {found}, by which its labels would be joined, expected labels that are of all its images; "
            f"give both tables a column that names the image, such as 'image_id',{advice}."
        )

    def _ambiguous(self, one: str, two: str) -> DataError:
        return DataError(
            f"{self._table}: has one label for {one[:120]!r} and {two[:120]!r} of {self._first}, by {self.ids}; "
            "expected one image per name, so write the paths out in both."
        )


class _Within:
    """Which columns differ within one key."""

    def __init__(self) -> None:
        self._first: dict[_Key, tuple[str, ...]] = {}
        self.differ: set[int] = set()

    def add(self, key: _Key, cells: list[str]) -> None:
        """Take the cells of one line."""
        if cells:
            same = tuple(_same_id(cell) for cell in cells)
            first = self._first.setdefault(key, same)
            self.differ |= {i for i, (a, b) in enumerate(zip(first, same, strict=True)) if a != b}


def _disagreement(said: list[Reading]) -> tuple[int, int] | None:
    """Return two lines of one rater, or of nobody in particular, that say two things."""
    first: dict[str, Reading] = {}
    for one in said:
        before = first.setdefault(one.rater, one)
        if plain(before.label) != plain(one.label):
            return before.line, one.line
    return None


def _image(cell: str, *, keep: bool) -> str:
    """Return what two spellings of an image's name have in common, its folders included if they are to be kept."""
    path = cell.strip().replace("\\", "/").removeprefix("./")
    folder, slash, name = path.rpartition("/")
    name = _same_id(without_suffix(name))
    return folder + slash + name if keep else name


def _same_id(cell: str) -> str:
    """Return an id as both tables have it: spreadsheets write 10000032 as 10000032.0."""
    text = cell.strip()
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text
