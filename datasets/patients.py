"""Find out which images belong together, so that no patient is on both sides of a split.

A network that has seen one X-ray of a patient recognises the next one; and the public release holds some contents
twice under different names. Both would make validation look better than it is.

Three kinds of evidence tell whose an image is, and the best that an image has counts: the source's table, the DICOM
header, the file's name. A table may have several ids: images that share any of them are one patient's. Where an image
lacks the better kinds, it is taken together with every image that shares the next: that may put two patients
into one group, which costs nothing, and never one patient into two.
"""

import itertools
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from datasets.dicom import NOBODY, PERSON_BYTES
from datasets.listing import XrayFile

CONSTANT = 0.5  # an id that a larger share of all images carries is an anonymiser's, not a person's
SUSPICIOUS = 0.1  # one that this share carries may be one, too,
MANY = 10  # unless these are few images
_NOBODY = "-2"  # what `number_people` numbers words for nobody
_PERSON = re.compile(r"person(\d+)_(?:bacteria|virus)_\d", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:BACTERIA|VIRUS|NORMAL|PNEUMONIA)-(\d+)-\d+\.", re.IGNORECASE)  # of the later release
_CHESTXRAY14 = re.compile(r"(0{3}\d{5})_\d{3}\.")
_NORMAL = re.compile(r"(?:NORMAL2-)?(IM)-(\d+)-\d", re.IGNORECASE)
_FOLDERS = re.compile(r"(?:^|/)(patient\d{5}(?=/study\d)|p\d{8}(?=/s\d{8}))")  # CheXpert's and MIMIC-CXR's


def patient_key(name: str) -> str:
    """Return what two images of one patient have in common, from a file name with or without its folders.

    personNNNN_(bacteria|virus)_M -> "person N"; IM-XXXX-YYYY and NORMAL2-IM-XXXX-YYYY -> "IM X";
    (BACTERIA|VIRUS|NORMAL)-N-M and ChestX-ray14's 000NNNNN_MMM -> "patient N"; a folder patientNNNNN/studyN or
    pNNNNNNNN/sNNNNNNNN -> its name; anything else is a patient of its own: the name without its suffix, folders
    included.
    """
    path = PurePosixPath(name)
    if match := _PERSON.match(path.name):
        return f"person {int(match[1])}"
    if match := _NORMAL.match(path.name):
        return f"IM {int(match[2])}"
    if match := _NUMBERED.match(path.name) or _CHESTXRAY14.match(path.name):
        return f"patient {int(match[1])}"
    if match := _FOLDERS.search(name):
        return match[1]
    return str(path.with_suffix(""))


def names_a_patient(name: str) -> bool:
    """Return whether `patient_key` finds more in a name than the name itself."""
    return patient_key(name) != str(PurePosixPath(name).with_suffix(""))


def number_people(people: Sequence[bytes | None]) -> NDArray[np.int64]:
    """Return (N,) equal numbers for one person, in the order of the images; -1 without an id, -2 where it names nobody.

    Args:
        people: (N,) what `dicom.read` returns: hashes of an id and, behind it, of its issuer. One id is one person
            where any image of it names no issuer: it may be any of them.
    """
    vague = {person for person in people if person is not None and len(person) == PERSON_BYTES}
    numbers = {NOBODY: -2}
    keys = [None if person is None else next(iter({person[:PERSON_BYTES]} & vague), person) for person in people]
    return np.array([-1 if key is None else numbers.setdefault(key, len(numbers) - 1) for key in keys], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Patients:
    """Who is who among N images."""

    keys: NDArray[np.int64]  # (N,) equal for images of one patient
    known: tuple[bool, ...]  # (N,) whether anything tells whose the image is
    sure: NDArray[np.bool_]  # (N,) whether an id does; the public release's names count anew in each of its splits
    notes: tuple[str, ...]
    warnings: tuple[str, ...]  # those of the notes that are about ids that look wrong, or about some images only

    @property
    def unit(self) -> str:
        """What a split is divided by, in words."""
        if not any(self.known):
            return "images"
        return "whole patients" if all(self.known) else "whole patients, and by images where no patient is known"


def know_patients(files: Sequence[XrayFile], people: NDArray[np.int64]) -> Patients:
    """Find out which images are of one patient.

    Args:
        files: N images.
        people: (N,) what `number_people` returns.
    """
    table, in_table = _from_table(files)
    numbers = [None if person == -1 else str(person) for person in people.tolist()]
    headers, in_headers = _without_constant(numbers, "in their DICOM headers", "All DICOM headers")
    names = [patient_key(file.name) if names_a_patient(file.name) else None for file in files]
    keys = _linked([table, headers, names])
    known = tuple(any(ids) for ids in zip(table, headers, names, strict=True))
    said = (*in_table, *in_headers, *_said(known, keys))
    sure = np.array([any(ids) for ids in zip(table, headers, strict=True)], dtype=np.bool_)
    return Patients(keys, known, sure, said, said if any(known) else (*in_table, *in_headers))


def _from_table(files: Sequence[XrayFile]) -> tuple[list[str | None], tuple[str, ...]]:
    """Return one id of the table per image, that of all images which share one in any of its columns, and notes."""
    columns = list(itertools.zip_longest(*(file.patients for file in files)))
    kept, notes = list[list[str | None]](), dict[str, None]()
    for ids in columns:
        without, said = _without_constant(list(ids), "in the table", "All lines of the table")
        kept.append(without)
        notes |= dict.fromkeys(said)
    if len(kept) < 2:
        return (kept[0] if kept else [None] * len(files)), tuple(notes)
    joined = _components([[i if known is None else known for i, known in enumerate(ids)] for ids in kept])
    who = [str(key) if any(ids) else None for key, *ids in zip(joined.tolist(), *kept, strict=True)]
    return who, tuple(notes)


def _without_constant(ids: list[str | None], where: str, everyone: str) -> tuple[list[str | None], tuple[str, ...]]:
    """Drop the ids that are no person's, a word for nobody and what most of the images carry, and say so."""
    notes: tuple[str, ...] = ()
    counts = Counter(known for known in ids if known is not None)
    common, most = (counts.most_common(1) or [("", 0)])[0]
    dropped = {_NOBODY} | ({common} if most > max(1, CONSTANT * len(ids)) else set())
    for constant in sorted(dropped & counts.keys()):
        count = counts[constant]
        carry = f"{everyone} carry" if count == len(ids) else f"{count} of {len(ids)} images carry"
        at = "" if count == len(ids) else f" {where}"
        what = "or several that name nobody: they were" if constant == _NOBODY else "it was"
        mark = "," if constant == _NOBODY else ":"
        notes += (f"{carry} one patient id{at}, as anonymised ones do{mark} {what} not used.",)
    return [None if known in dropped else known for known in ids], notes


def _linked(kinds: Sequence[Sequence[str | None]]) -> NDArray[np.int64]:
    """Return (N,) equal numbers for images of one patient, from kinds of ids, (N,) each, the best kind first."""
    lacking = np.ones(len(kinds[0]), dtype=np.bool_)  # every better kind
    keyings: list[list[Hashable]] = []
    for ids in kinds:
        shared = {known for known, alone in zip(ids, lacking, strict=True) if alone and known is not None}
        keyings.append([known if known in shared else i for i, known in enumerate(ids)])
        lacking &= np.array([known is None for known in ids], dtype=np.bool_)
    return _components(keyings)


def _said(known: Sequence[bool], keys: NDArray[np.int64]) -> tuple[str, ...]:
    """Say what is not known about the patients."""
    n, unknown, notes = len(known), len(known) - sum(known), list[str]()
    if unknown:
        who = "No patient is known: every image" if unknown == n else f"{unknown} of {n} images have no patient: each"
        notes.append(f"{who} counts as a patient of its own, and two of one patient may be on both sides of a split.")
    counts = np.bincount(keys[np.array(known, dtype=np.bool_)], minlength=1)
    large = sorted(counts[counts >= max(MANY, SUSPICIOUS * n)].tolist(), reverse=True)
    if large:
        who = "One patient has" if len(large) == 1 else f"{len(large)} patients have"
        notes.append(
            f"{who} {' and '.join(map(str, large))} of {n} images ({sum(large) / n:.0%}): if that is no person but an "
            "anonymiser's id, give a table whose column 'patient' has the right ids."
        )
    return tuple(notes)


def same_images(contents: Sequence[str], pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return (N,) numbers that are equal for identical files and for identical pixels, and whatever these connect.

    Args:
        contents: (N,) sha256 of the file bytes.
        pixels: (N, H, W) decoded images.
    """
    return _components([list(contents), [image.tobytes() for image in pixels]])


def group_images(patients: NDArray[np.int64], copies: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (N,) numbers from 0 of the groups of images that must stay on one side of a split.

    Args:
        patients: (N,) equal for images of one patient.
        copies: (N,) equal for one image, from `same_images`.
    """
    return _components([patients.tolist(), copies.tolist()])


def duplicates(names: Sequence[str], copies: NDArray[np.int64]) -> tuple[tuple[str, ...], ...]:
    """Return the names of the images that occur more than once, in groups."""
    groups: dict[int, list[str]] = {}
    for name, image in zip(names, copies.tolist(), strict=True):
        groups.setdefault(image, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _components(keyings: Sequence[Sequence[object]]) -> NDArray[np.int64]:
    """Connect items that share a key in any keying, each (N,); return (N,) component numbers."""
    n = len(keyings[0])
    edges = []
    for keys in keyings:
        first: dict[object, int] = {}
        edges += [(first.setdefault(key, i), i) for i, key in enumerate(keys)]
    rows, columns = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)  # type: ignore[no-any-return]
