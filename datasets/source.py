"""Any source of X-rays to the same data set: find out what it is, decode it, group it by patient and split it.

Damaged images are common in copies of medical data: they are left out, by name, and reported. A source that has no
test split gets one that depends on nothing but its images, so that no option of a training changes what it is
tested on.
"""

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError, ImageError
from datasets.archive import damaged, list_zip
from datasets.decode import Progress, decode_all
from datasets.folder import FolderTree, list_folder
from datasets.layout import folders, is_clutter
from datasets.listing import Listing, XrayFile
from datasets.medmnist import list_medmnist
from datasets.patients import group_images, names_a_patient, patient_key
from datasets.split import validation_mask
from datasets.table import SUFFIXES, list_table
from datasets.xray import CLASS_NAMES, Split, XrayData, fingerprint, make_report

TEST_FRACTION = 0.2  # of a source without a test split, by whole patients
_MAX_UNREADABLE = 0.5  # above this share, the images are not the ones the user thinks they are


@dataclass(frozen=True)
class Format:
    """One kind of source."""

    name: str
    recognises: Callable[[Path], bool]  # looks at what it is, not at what it is called
    list: Callable[[Path, str | None], Listing]  # (path, name of the positive class)


def _is_folder_with_table(path: Path) -> bool:
    return path.is_dir() and not folders_that_classify(path) and len(_tables(path)) == 1


def folders_that_classify(path: Path) -> bool:
    """Return whether a folder's own folders can be its splits or classes: then a table in it is beside the point."""
    names = {name.lower() for name in folders(FolderTree(path))}
    return bool(names & {"train", "test"}) or {name.lower() for name in CLASS_NAMES} <= names


def _tables(path: Path) -> list[Path]:
    children = FolderTree(path).children(".")
    return [path / name for name, is_folder in children if not (is_folder or is_clutter(name)) and _is_table_name(name)]


def _is_table_name(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _starts_like_zip(path: Path) -> bool:
    return path.is_file() and _head(path)[:4] in (b"PK\3\4", b"PK\5\6")


def _is_npz(path: Path) -> bool:
    if not _starts_like_zip(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception as err:  # zipfile raises many kinds for damaged files
        raise damaged(path, err) from err
    return any(name.endswith(".npy") for name in names) or path.suffix == ".npz"


def _is_table(path: Path) -> bool:
    if not path.is_file() or b"\0" in _head(path):
        return False
    return _is_table_name(path.name) or any(mark in _head(path).partition(b"\n")[0] for mark in (b",", b";", b"\t"))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(4096)
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror}); expected a readable file.") from err


FORMATS = (  # the first that recognises a path reads it
    Format(
        "folder with a table (CSV) of its images or DICOM files",
        _is_folder_with_table,
        lambda path, positive: list_table(_tables(path)[0], positive=positive, folder=path),
    ),
    Format(
        "folder {train,test}/{NORMAL,PNEUMONIA}, or of two classes",
        lambda path: path.is_dir(),
        lambda path, positive: list_folder(path, positive=positive),
    ),
    Format("MedMNIST .npz", _is_npz, lambda path, _: list_medmnist(path)),
    Format("zip of the release", _starts_like_zip, lambda path, positive: list_zip(path, positive=positive)),
    Format("table (CSV) of paths and labels", _is_table, lambda path, positive: list_table(path, positive=positive)),
)


@contextlib.contextmanager
def listed(path: Path, *, positive: str | None = None) -> Iterator[Listing]:
    """Recognise a source and list its images, sorted by name; they can be read inside the `with` block.

    Raises:
        DataError: the source is missing, of no known format, or damaged.
    """
    if not path.exists():
        raise DataError(
            f"{path}: does not exist; expected a folder with train/NORMAL, train/PNEUMONIA and the same under test, "
            f"or another source: {'; '.join(source.name for source in FORMATS)}."
        )
    found = next((source for source in FORMATS if source.recognises(path)), None)
    if found is None:
        kind = "is empty" if path.is_file() and not path.stat().st_size else "is of no known format"
        raise DataError(f"{path}: {kind}; expected a {'; '.join(source.name for source in FORMATS)}.")
    listing = found.list(path, positive)
    try:
        # Sorted, so that the split does not depend on the file system.
        yield replace(listing, files=tuple(sorted(listing.files, key=lambda file: file.name)))
    finally:
        listing.close()


def load_xrays(
    path: Path,
    *,
    height: int,
    width: int,
    val_fraction: float,
    seed: int,
    strict: bool,
    cache: Path | None,
    positive: str | None = None,
    progress: Progress | None = None,
) -> XrayData:
    """Read any source of X-rays.

    Args:
        path: a source in one of FORMATS.
        height, width: size of the images [pixel].
        val_fraction: share of the training images, by whole patients, that becomes validation; not used by a source
            that has validation images of its own.
        seed: chooses the validation patients.
        strict: the first unreadable image is an error, instead of being left out and reported.
        cache: folder for decoded images; None decodes every time.
        positive: which class is pneumonia, for sources whose class names do not say.
        progress: called after each decoded image, not called on a cache hit.
    """
    with listed(path, positive=positive) as listing:
        files = listing.files
        _check_classes(listing, files)
        decoded = decode_all(files, height, width, cache, progress)
        unreadable = _check_readable(listing.root, files, decoded.problems, strict=strict)
        good = [i for i, problem in enumerate(decoded.problems) if not problem]
        files = tuple(files[i] for i in good)
        _check_classes(listing, files)
        contents = [decoded.contents[i] for i in good]

        keys, known, patient_notes = _patient_keys(files, decoded.people[good])
        patients, duplicates = group_images(keys, [file.name for file in files], contents, decoded.pixels[good])
        labels = np.array([file.label for file in files], dtype=np.int64)
        every = Split(decoded.pixels[good], labels, patients, tuple(file.name for file in files))
        own, notes = _own_splits(listing, files, every, unit="whole patients" if known else "images")
        splits, val_notes = _with_validation(own, every, val_fraction=val_fraction, seed=seed)
        train, val, test = (every.take(splits == name) for name in ("train", "val", "test"))
        return XrayData(
            train=train,
            val=val,
            test=test,
            fingerprint=fingerprint(
                (split, CLASS_NAMES[file.label], content)
                for split, file, content in zip(own, files, contents, strict=True)
            ),
            source=listing.source,
            report=make_report(
                train,
                val,
                test,
                duplicates=duplicates,
                unreadable=unreadable,
                notes=(*listing.notes, *patient_notes, *notes, *val_notes),
            ),
        )


def _patient_keys(files: tuple[XrayFile, ...], people: NDArray[np.int64]) -> tuple[list[str], bool, tuple[str, ...]]:
    """Return what two images of one patient have in common, whether any patient is known, and what to say about it.

    Args:
        files: N images.
        people: (N,) numbers of the patients in the DICOM headers, -1 where there is none.
    """
    notes = []
    if len(files) > 1 and people[0] >= 0 and np.all(people == people[0]):
        notes.append("All DICOM headers carry one patient id, as anonymised ones do: it was not used.")
        people = np.full_like(people, -1)
    keys = []
    for file, person in zip(files, people.tolist(), strict=True):
        header = f"dicom {person}" if person >= 0 else patient_key(file.name)
        keys.append(header if file.patient is None else file.patient)
    known = bool(np.any(people >= 0)) or any(file.patient or names_a_patient(file.name) for file in files)
    if not known:
        notes.append(
            "No patient is known: every image counts as a patient of its own, and two of one patient may be on both "
            "sides of a split."
        )
    return keys, known, tuple(notes)


def _own_splits(
    listing: Listing, files: tuple[XrayFile, ...], every: Split, *, unit: str
) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Return (N,) train, val or test as the source says, and what to say about it; a missing test split is drawn."""
    splits = np.array([file.split or "train" for file in files])
    if "test" in listing.splits:
        return splits, ()
    rest = np.flatnonzero(splits == "train")
    try:
        mask = validation_mask(every.labels[rest], every.patients[rest], val_fraction=TEST_FRACTION, seed=0)
    except DataError as err:
        raise DataError(f"{listing.root}: has no test split, and none can be drawn from it: {err}") from err
    splits[rest[mask]] = "test"
    note = (
        f"The source has no test split: {int(mask.sum())} images, about {TEST_FRACTION:.0%}, were set aside by {unit}; "
        "no option changes which."
    )
    return splits, (note,)


def _with_validation(
    own: NDArray[np.str_], every: Split, *, val_fraction: float, seed: int
) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Return the splits with a validation split, the source's own if it has one, and what to say about it."""
    splits = own.copy()
    if np.any(splits == "val"):
        count = int((splits == "val").sum())
        return splits, (f"The source's own {count} validation images are used; val_fraction and seed change nothing.",)
    rest = np.flatnonzero(splits == "train")
    mask = validation_mask(every.labels[rest], every.patients[rest], val_fraction=val_fraction, seed=seed)
    splits[rest[mask]] = "val"
    return splits, ()


def _check_classes(listing: Listing, files: tuple[XrayFile, ...]) -> None:
    """Stop unless every split that the source has, or the whole source, holds images of both classes."""
    found = {(file.split, file.label) for file in files}
    needed = dict.fromkeys(("train", *listing.splits)) if listing.splits else (None,)
    for split in needed:
        for label, class_name in enumerate(CLASS_NAMES):
            if (split, label) not in found:
                place = listing.root / class_name if split is None else listing.root / split / class_name
                where = "" if split is None else f", in {' and in '.join(map(str, needed))}"
                raise DataError(
                    f"{place}: holds no usable image; expected images of both classes, {' and '.join(CLASS_NAMES)}"
                    f"{where}. Add or replace some."
                )


def _check_readable(
    root: Path, files: tuple[XrayFile, ...], problems: tuple[str, ...], *, strict: bool
) -> tuple[tuple[str, str], ...]:
    """Return (name, reason) of the unreadable images, unless they are an error."""
    bad = [(file.name, problem) for file, problem in zip(files, problems, strict=True) if problem]
    if bad and strict:
        raise ImageError(f"{bad[0][0]}: {bad[0][1]}")
    if len(bad) > _MAX_UNREADABLE * len(files):
        raise DataError(
            f"{root}: {len(bad)} of {len(files)} images are unreadable, more than half; check the source, "
            f"starting with {bad[0][0]}: {bad[0][1]}"
        )
    return tuple(bad)
