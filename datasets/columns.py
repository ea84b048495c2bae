"""Which column of a table holds what: by its usual names, without regard to case; and whether two of them disagree."""

import re
from collections.abc import Sequence
from pathlib import Path

from contract.errors import DataError
from datasets.csv_rows import normal
from datasets.headings import names_files, names_images, names_labels, names_patients
from datasets.labels import (
    REST,
    LabelRules,
    names_healthy,
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
    """Return the columns that could hold the labels, by their names or by the one that the user gives."""
    if rules.label is not None:
        return [cell.strip() for cell in heading if normal(cell) == normal(rules.label)]
    return [cell.strip() for cell in heading if normal(cell) in COLUMNS["label"] or names_labels(cell)]


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
