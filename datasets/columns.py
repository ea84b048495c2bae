"""Which column of a table holds what: by its usual names, without regard to case; and whether two of them disagree."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from contract.errors import DataError
from datasets.csv_rows import normal
from datasets.headings import names_files, names_images, names_patients
from datasets.labels import (
    REST,
    LabelRules,
    Verdict,
    names_any_finding,
    names_healthy,
    names_pneumonia,
    says_class,
    says_healthy,
    says_present,
    says_yes,
)

COLUMNS = {  # what a column is called, best first
    "path": ("path", "file", "filename", "file_name", "image_path", "image", "image_index", "image_id", "dicom_id",
             "id", "patientid"),
    "label": ("label", "class", "class_name", "target", "diagnosis", "finding", "finding_labels"),
    "split": ("split", "set", "subset", "fold"),
    "rater": ("rad_id", "rater", "rater_id", "reader", "reader_id", "radiologist"),
}  # fmt: skip
KNOWN = {name for names in COLUMNS.values() for name in names}
MAX_LABEL = 2000  # characters of a cell
_PERHAPS_PATHS = (
    "id",
    "patientid",
)  # RSNA calls its images by patientId; elsewhere they are numbers of lines, or people
_MAX_PAIRS = 20  # of a label and another cell of its line
_PATH = -1  # in the place of a column: what paths say, by folders and by names such as Normal-12.png
_NUMBERED = re.compile(r"[A-Za-z]{0,3}[\d._-]*")  # p10000032, as folders of patients and studies are called
_MOST = 0.75  # of the lines; what has nothing to do with the label contradicts it in half of them
_CLASSES = {Verdict.NEGATIVE, Verdict.POSITIVE}
_IMAGE_SUFFIXES = {".bmp", ".dcm", ".dib", ".dic", ".dicom", ".ima", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif",
                   ".tiff"}  # fmt: skip


def find_columns(table: Path, heading: list[str], rules: LabelRules, need: tuple[str, ...]) -> dict[str, int]:
    """Return where the columns that we know are; `need` names those that must be there."""
    names = [normal(cell) for cell in heading]
    there = {key: [name for name in known if name in names] for key, known in COLUMNS.items()}
    there["path"] = [names[at] for level in image_columns(heading) for at in level]
    found = {key: usual[0] for key, usual in there.items() if usual and (key != "label" or key in need)}
    if "label" in need:
        found |= _label_column(table, heading, names, there["label"], rules)
    if any(required not in found for required in need):
        raise DataError(
            f"{table}: has the columns {some(heading)}, expected one called 'path' and one called 'label' ('patient' "
            "and 'split' are optional); name them in the first line, or set 'data.label' to the column that holds the "
            "label or the finding."
        )
    for key, name in found.items():
        chosen = key == "label" and rules.label is not None
        same = [one for one in names if one == name or (not chosen and _is_copy(one, name))]
        if len(same) > 1:
            raise DataError(
                f"{table}: has {len(same)} columns called {' and '.join(sorted(map(repr, {*same})))}, expected one; "
                "rename or remove the others."
            )
    return {key: names.index(name) for key, name in found.items()}


def _is_copy(name: str, of: str) -> bool:
    """Return whether a column is the second of a name: pandas calls it label.1, and it may say something else."""
    return re.fullmatch(rf"{re.escape(of)}\.\d+", name) is not None


def image_columns(heading: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
    """Return where names of images may be: names of files, ids of images, other ids; each the usual names first."""
    usual = {name: rank for rank, name in enumerate(COLUMNS["path"])}
    levels: tuple[list[int], list[int], list[int]] = ([], [], [])
    for at, cell in sorted(enumerate(heading), key=lambda one: usual.get(normal(one[1]), len(usual))):
        if normal(cell) in _PERHAPS_PATHS:
            levels[2].append(at)
        elif normal(cell) in usual or names_images(cell):
            levels[0 if names_files(cell) else 1].append(at)
    return levels


def _label_column(
    table: Path, heading: list[str], names: list[str], there: list[str], rules: LabelRules
) -> dict[str, str]:
    """Return the name of the column that holds the label: the one that the user names, or the only usual one."""
    if rules.label is not None:
        if normal(rules.label) not in names:
            raise DataError(
                f"{table}: has no column {rules.label!r}, which 'data.label' asks for, found {some(heading)}; correct "
                "it."
            )
        if says_healthy(rules.label) and rules.positive is None and rules.negative in (None, REST):
            raise DataError(
                f"{table}: 'data.label' is {rules.label!r}, which names what is not there, expected the column of a "
                "finding; give that one, or set 'data.positive' to the cell of this column that counts as PNEUMONIA."
            )
        return {"label": normal(rules.label)}
    if len(there) > 1:
        raise DataError(
            f"{table}: has the columns {' and '.join(there)}, each of which could be the label; set 'data.label' to "
            "one."
        )
    return {}


def label_columns(heading: Sequence[str], rules: LabelRules) -> list[str]:
    """Return the columns that could hold the labels, by their usual names or by the one that the user gives."""
    wanted = {normal(rules.label)} if rules.label is not None else set(COLUMNS["label"])
    return [cell.strip() for cell in heading if normal(cell) in wanted]


def some(heading: Sequence[str]) -> str:
    """Return some names of columns, for messages."""
    more = f" and {len(heading) - 20} more" if len(heading) > 20 else ""
    return (", ".join(ascii(cell)[1:-1][:30] for cell in heading[:20]) or "none") + more


def require_no_more(table: Path, line: int, cells: Sequence[str], heading: Sequence[str]) -> None:
    """Stop at a line of more cells than columns: behind a comma that is not quoted all of them say something else."""
    if any(cell.strip() for cell in cells[len(heading) :]):
        raise DataError(
            f"{table}: line {line} has {len(cells)} cells, expected {len(heading)}; put a cell that holds the "
            "separator in quotes, or name every column in the first line."
        )


def check_label(table: Path, line: int, label: str) -> None:
    """Stop at a label that is none by its length."""
    if len(label) > MAX_LABEL:
        raise DataError(
            f"{table}: line {line} has a label of {len(label):,} characters, expected a class or findings of at most "
            f"{MAX_LABEL:,}; is 'data.label' the right column?"
        )


def patient_columns(heading: Sequence[str], path: int) -> list[int]:
    """Return where the ids of patients are. In RSNA's table such an id is the image's, whatever it is called."""
    return [at for at, cell in enumerate(heading) if names_patients(cell) and at != path]


def without_suffix(name: str) -> str:
    """Return a file's name without the suffix of an image; what follows a dot else is part of an id, as in 1.2.840."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and f"{dot}{suffix}".lower() in _IMAGE_SUFFIXES else name


def healthy_columns(heading: Sequence[str], label: int | None, rules: LabelRules) -> list[int]:
    """Return the columns in which a yes says that there is nothing, beside the label: both cannot be.

    Beside what is no finding, such as CheXpert's "Support Devices", nothing may have been found. Such a label is told
    by 'data.positive' alone.
    """
    if rules.positive is not None and rules.label is not None and not says_present(rules.label):
        return []
    return [at for at, cell in enumerate(heading) if at != label and names_healthy(cell)]


def healthy_says(heading: Sequence[str], columns: Sequence[int], cells: Sequence[str]) -> str:
    """Return the heading of the first of these columns that says yes in a line, empty where none does."""
    return next((heading[at].strip()[:80] for at in columns if at < len(cells) and says_yes(cells[at])), "")


class OtherNames:
    """What names the classes beside the label, which 0 and 1 may be the numbers of, instead of no and yes.

    That is a column of words, a column of yes and no that is called by a class, and the paths.
    """

    def __init__(self, heading: Sequence[str], label: int) -> None:
        """Take the heading of a table and where its labels are."""
        self._heading, self._label = heading, label
        # How often a label stands beside a cell, or in a path, at _PATH.
        self._pairs: dict[int, Counter[tuple[str, str]]] = {
            at: Counter() for at in (_PATH, *range(len(heading))) if at != label
        }
        general = not names_any_finding(heading[label])  # else the two columns are of two findings
        self._called = {
            at: called == Verdict.POSITIVE
            for at, cell in enumerate(heading)
            if general and (called := names_pneumonia(cell)) is not None
        }

    def add(self, cells: Sequence[str]) -> None:
        """Look at the cells of one line."""
        label = cells[self._label].strip()
        for at in list(self._pairs):
            if 0 <= at < len(cells):
                self._count(at, label, cells[at].strip()[:MAX_LABEL])

    def add_path(self, label: str, path: str) -> None:
        """Look at an image's path."""
        if _PATH in self._pairs:
            folder, _, name = path.replace("\\", "/").rpartition("/")
            stem = re.sub(r"[\W\d_]+$", "", without_suffix(name)[:MAX_LABEL])
            word = "" if any(map(str.isdigit, stem)) else _class_in(stem)  # most names are ids: not one by one
            if word := word or _class_in(folder):
                self._count(_PATH, label.strip(), word)

    def _count(self, at: int, label: str, cell: str) -> None:
        self._pairs[at][label, cell] += 1
        if len(self._pairs[at]) > _MAX_PAIRS:  # no names of classes
            del self._pairs[at]

    def _says(self, at: int, cell: str) -> Verdict | None:
        if at in self._called and (yes := says_yes(cell)) is not None:
            return Verdict(yes == self._called[at])
        return says_class(cell)

    def check(self, table: Path, verdict: Callable[[str], Verdict]) -> None:
        """Stop where most lines name the other class than the label does; `verdict` reads labels."""
        for at, pairs in self._pairs.items():
            read = {(label, cell): (verdict(label), self._says(at, cell)) for label, cell in pairs}
            known = {pair: both for pair, both in read.items() if both[1] is not None and both[0] in _CLASSES}
            other = {pair: both for pair, both in known.items() if both[0] != both[1]}
            lines, of = (sum(pairs[pair] for pair in some) for some in (other, known))
            if {both[0] for both in other.values()} == _CLASSES and lines >= _MOST * of:
                label, cell = next(iter(sorted(other)))
                where = "in the path" if at == _PATH else f"as {self._heading[at].strip()[:80]!r}"
                else_ = "else" if lines == of else f"in most lines ({lines:,} of {of:,} contradict the label)"
                raise DataError(
                    f"{table}: has {cell[:40]!r} {where} where the label is {label[:40]!r}, and the opposite "
                    f"{else_}, expected them to agree; set 'data.positive' to the label that counts as PNEUMONIA."
                )


@lru_cache(maxsize=10_000)
def _class_in(folder: str) -> str:
    """Return the last part of a path that names a class, empty where none does."""
    parts = (part for part in reversed(folder.split("/")) if _NUMBERED.fullmatch(part) is None)
    return next((part for part in parts if says_class(part) is not None), "")[:MAX_LABEL]
