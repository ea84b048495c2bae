"""Any source of X-rays to the same data set: find out what it is, decode it, group it by patient and split it.

Damaged images are common in copies of medical data: they are left out, by name, and reported. A source that has no
test split gets one that depends on nothing but its images, so that no option of a training changes what it is
tested on.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import DataError, ImageError
from contract.table import join_names
from datasets.archive import list_zip
from datasets.classes import LEFT_OUT, ClassesError, NamedClasses, Reading, settle_named
from datasets.csv_rows import is_text
from datasets.decode import Progress, dark_note, decode_all
from datasets.folder import FolderTree, list_folder
from datasets.labels import Found, LabelRules, Verdict, plain, settle
from datasets.layout import HIDDEN, folders, is_clutter
from datasets.listing import SPLIT_NAMES, Listing, XrayFile, left_out_note, shown
from datasets.medmnist import list_medmnist
from datasets.patients import duplicates, group_images, know_patients, same_images
from datasets.split import validation_mask
from datasets.split_columns import split_names
from datasets.table import is_table_name, list_table, looks_like_table
from datasets.xray import CLASS_NAMES, Split, XrayData, fingerprint, known_as, make_report

TEST_FRACTION = 0.2  # of a source without a test split, by whole patients
_MAX_UNREADABLE = 0.5  # above this share, the images are not the ones the user thinks they are


@dataclass(frozen=True)
class Format:
    """One kind of source."""

    name: str
    recognises: Callable[[Path], bool]  # looks at what it is, not at what it is called
    list: Callable[[Path, LabelRules], Listing]
    fields: tuple[str, ...] = ()  # of the rules, those that not every format reads, and this one does


def _is_folder_with_table(path: Path) -> bool:
    return path.is_dir() and not folders_that_classify(path) and len(_tables(path)) == 1


def folders_that_classify(path: Path) -> bool:
    """Return whether a folder's own folders can be its splits or classes: then a table in it is beside the point."""
    names = {name.lower() for name in folders(FolderTree(path))}
    splits = {SPLIT_NAMES.get(name) for name in names}
    return bool(splits & {"train", "test"}) or {name.lower() for name in CLASS_NAMES} <= names


def _has_classes(path: Path, classes: Sequence[str]) -> bool:
    """Return whether at least two of a folder's own folders are classes that the user names."""
    named = {plain(name) for name in folders(FolderTree(path))}
    return len(named & set(map(plain, classes))) > 1


def _tables(path: Path) -> list[Path]:
    children = FolderTree(path).children(".")
    return [path / name for name, is_folder in children if not (is_folder or is_clutter(name)) and is_table_name(name)]


def _starts_like_zip(path: Path) -> bool:
    return path.is_file() and _head(path)[:4] in (b"PK\3\4", b"PK\5\6")


def _is_npz(path: Path) -> bool:
    if not _starts_like_zip(path):
        return False
    head = _head(path)
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]  # name of the first entry
    return first.endswith(b".npy") or path.suffix == ".npz"


def _is_table(path: Path) -> bool:
    if not path.is_file():
        return False
    head = _head(path)
    if is_table_name(path.name):
        return bool(head)
    return is_text(head) and looks_like_table(head.partition(b"\n")[0])


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(4096)
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror}); expected a readable file.") from err


def _list_folder(path: Path, rules: LabelRules) -> Listing:
    return list_folder(path, rules=rules)


FORMATS = (  # the first that recognises a path reads it
    Format(
        "folder with a table (CSV) of its images or DICOM files",
        _is_folder_with_table,
        lambda path, rules: list_table(_tables(path)[0], rules=rules, folder=path),
        fields=("label", "label_table"),
    ),
    Format(
        "folder {train,test}/{NORMAL,PNEUMONIA}, or of two classes",
        lambda path: path.is_dir(),
        _list_folder,
    ),
    Format(
        "MedMNIST .npz or one like it",
        _is_npz,
        lambda path, rules: list_medmnist(path, rules=rules),
        fields=("colour",),
    ),
    Format("zip of the release", _starts_like_zip, lambda path, rules: list_zip(path, rules=rules)),
    Format(
        "table (CSV) of paths and labels",
        _is_table,
        lambda path, rules: list_table(path, rules=rules),
        fields=("label", "label_table"),
    ),
)


def recognise(path: Path) -> Format:
    """Return what a source is, by a look at it. Raises DataError: it is missing, or of no known format."""
    if not _exists(path):
        raise DataError(
            f"{path}: does not exist; expected a folder with train/NORMAL, train/PNEUMONIA and the same under test, "
            f"or another source: {'; '.join(source.name for source in FORMATS)}."
        )
    found = next((source for source in FORMATS if source.recognises(path)), None)
    if found is None:
        kind = "is empty" if path.is_file() and not path.stat().st_size else "is of no known format"
        raise DataError(f"{path}: {kind}; expected a {'; '.join(source.name for source in FORMATS)}.")
    return found


def _require_read(path: Path, found: Format, rules: LabelRules) -> None:
    """Stop at a field that this source does not read, so that nobody believes it did something."""
    for name in dict.fromkeys(field for source in FORMATS for field in source.fields):
        if getattr(rules, name) != getattr(LabelRules(), name) and name not in found.fields:
            sources = "; ".join(source.name for source in FORMATS if name in source.fields)
            raise DataError(
                f"{path}: is read as a {found.name}, of which 'data.{name}' says nothing; leave it out, or give a "
                f"source that it is for: {sources}."
            )


@contextlib.contextmanager
def listed(path: Path, rules: LabelRules) -> Iterator[Listing]:
    """Recognise a source and list its images, sorted by name; they can be read inside the `with` block.

    Raises:
        DataError: the source is missing, of no known format, or damaged.
    """
    found = recognise(path)
    asks_for_table = rules.label is not None or rules.label_table is not None
    if rules.classes is not None and not asks_for_table and path.is_dir() and _has_classes(path, rules.classes):
        found = next(source for source in FORMATS if source.list is _list_folder)  # a table in it is beside the point
    try:
        listing = found.list(path, rules)
    except DataError as err:
        if found.list is not _list_folder or not (tables := sorted(table.name for table in _tables(path))):
            raise
        names = ", ".join(map(shown, tables[:4]))
        raise DataError(f"{err} Or give the table that names the images, as the source: {names}.") from err
    try:
        _require_read(path, found, rules)
        # Sorted, so that the split does not depend on the file system.
        yield replace(listing, files=tuple(sorted(listing.files, key=lambda file: file.name)))
    finally:
        listing.close()


def named_files(path: Path | str, rules: LabelRules) -> tuple[Path, ...]:
    """Return the images outside of a source that its table names; none where it cannot be read, which loading tells."""
    if not isinstance(path, Path):
        return ()
    try:
        with listed(path, rules) as listing:
            return listing.paths
    except DataError:
        return ()


def load_xrays(
    path: Path,
    *,
    height: int,
    width: int,
    val_fraction: float,
    seed: int,
    strict: bool,
    cache: Path | None,
    rules: LabelRules | None = None,
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
        rules: how labels are read; None: as they are, and every doubt is an error.
        progress: called after each decoded image, not called on a cache hit.
    """
    rules = rules or LabelRules()
    class_names = rules.classes or CLASS_NAMES
    with listed(path, rules) as listing:
        _check_classes(listing, listing.files, class_names, named=rules.classes is not None)
        decoded = decode_all(listing.files, height, width, cache, progress)
        unreadable = _check_readable(listing.root, listing.files, decoded.problems, strict=strict)
        good = [i for i, problem in enumerate(decoded.problems) if not problem]
        files = tuple(listing.files[i] for i in good)
        copies = same_images([decoded.contents[i] for i in good], decoded.pixels[good])
        labels, label_notes = _agreed_labels(listing.root, files, copies, rules)
        kept = [i for i, label in enumerate(labels) if label is not None]
        files = tuple(
            replace(file, label=label) for file, label in zip(files, labels, strict=True) if label is not None
        )
        good, copies = [good[i] for i in kept], copies[kept]
        _check_classes(listing, files, class_names, named=rules.classes is not None, unreadable=unreadable)

        who = know_patients(files, decoded.people[good])
        names, contents = tuple(file.name for file in files), [decoded.contents[i] for i in good]
        kept_labels = np.array([file.label for file in files], dtype=np.int64)
        every = Split(decoded.pixels[good], kept_labels, group_images(who.keys, copies), names)
        own, notes = _own_splits(listing, files, every, unit=who.unit, class_names=class_names)
        splits, val_notes = _with_validation(
            listing, own, every, val_fraction=val_fraction, seed=seed, class_names=class_names
        )
        train, val, test = (every.take(splits == name) for name in ("train", "val", "test"))
        leaks = _overlap(splits, copies, np.where(who.sure, every.patients, -1))
        unread, named = left_out_note(listing.left_out), _named_splits(listing, names)
        overlooked = unread if set(listing.left_out) - {HIDDEN} else ()
        return XrayData(
            train=train,
            val=val,
            test=test,
            fingerprint=fingerprint(
                (split, known_as(rules.classes, file.label), content)
                for split, file, content in zip(own, files, contents, strict=True)
            ),
            source=listing.source,
            report=make_report(
                train,
                val,
                test,
                duplicates=duplicates(names, copies),
                unreadable=unreadable,
                warnings=(*overlooked, *dark_note(names, every.pixels), *who.warnings, *named, *leaks),
                notes=(*listing.notes, *unread, *label_notes, *who.notes, *named, *notes, *val_notes, *leaks),
                class_names=class_names,
            ),
            class_names=class_names,
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, a NUL
        return False


def _agreed_labels(
    root: Path, files: tuple[XrayFile, ...], copies: NDArray[np.int64], rules: LabelRules
) -> tuple[list[int | None], tuple[str, ...]]:
    """Look for one image under two labels, which are then no labels: see `datasets.labels`.

    Args:
        root: the source, for messages.
        files: N images.
        copies: (N,) equal numbers where the files or the pixels are identical.
        rules: what an uncertain label counts as.

    Returns:
        (N,) labels, None where the image is left out, and sentences about it.
    """
    class_names = rules.classes or CLASS_NAMES
    first: dict[int, dict[int, XrayFile]] = {}
    for file, image in zip(files, copies.tolist(), strict=True):
        first.setdefault(image, {}).setdefault(file.label, file)
    found: list[Found] = []
    readings: list[Reading] = []
    for file, image in zip(files, copies.tolist(), strict=True):
        alike, label = len(first[image]) == 1, file.label
        names = " and ".join(f"{one.name[:80]} ({class_names[at]})" for at, one in sorted(first[image].items()))
        text = f"{names} are the same image and contradict each other, expected one label per image"
        if rules.classes is not None:
            readings.append(Reading(label if alike else None, "" if alike else "conflict", file.name, text))
        elif alike:
            found.append(Found(Verdict(label), file.name, class_names[label]))
        else:
            found.append(Found(Verdict.CONFLICT, file.name, text))
    if rules.classes is not None:
        return settle_named(readings, rules, where=str(root))
    return settle(found, rules, where=str(root))


def _own_splits(
    listing: Listing, files: tuple[XrayFile, ...], every: Split, *, unit: str, class_names: Sequence[str]
) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Return (N,) train, val or test as the source says, and what to say about it; a missing test split is drawn."""
    splits = np.array([file.split or "train" for file in files])
    if "test" in listing.splits:
        return splits, ()
    of_val = np.isin(every.patients, every.patients[splits == "val"])
    rest = np.flatnonzero((splits == "train") & ~of_val)  # whom the source validates with, it does not test with
    try:
        mask = validation_mask(
            every.labels[rest],
            every.patients[rest],
            val_fraction=TEST_FRACTION,
            seed=0,
            for_test=True,
            class_names=class_names,
        )
    except DataError as err:
        raise DataError(f"{listing.root}: has no test split, and none can be drawn from it: {err}") from err
    splits[rest[mask]] = "test"
    count = int(mask.sum())
    why = "All test images of the source were left out, for their labels" if "test" in listing.emptied else (
        "The source has no test split")  # fmt: skip
    share = f"{count} images, about {count / len(splits):.0%}"
    note = f"{why}: {share}, were set aside by {unit}; val_fraction and seed do not change which."
    return splits, (note,)


def _named_splits(listing: Listing, names: Sequence[str]) -> tuple[str, ...]:
    """Say that names of files tell train from test where the source is divided in another way."""
    pair = None if listing.splits else split_names(names)
    if pair is None:
        return ()
    return (
        f"Names of files tell train from test ({' and '.join(name[:80] for name in pair)}), which changes nothing: to "
        "have it so, give a table whose column 'split' says it.",
    )


def _with_validation(
    listing: Listing, own: NDArray[np.str_], every: Split, *, val_fraction: float, seed: int, class_names: Sequence[str]
) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Return the splits with a validation split, the source's own if it has one, and what to say about it."""
    splits = own.copy()
    if np.any(splits == "val"):
        count = int((splits == "val").sum())
        return splits, (f"The source's own {count} validation images are used; val_fraction and seed change nothing.",)
    rest = np.flatnonzero(splits == "train")
    mask = validation_mask(
        every.labels[rest], every.patients[rest], val_fraction=val_fraction, seed=seed, class_names=class_names
    )
    splits[rest[mask]] = "val"
    if "val" in listing.emptied:
        return splits, ("All validation images of the source were left out, for their labels: others were drawn.",)
    return splits, ()


def _overlap(splits: NDArray[np.str_], copies: NDArray[np.int64], patients: NDArray[np.int64]) -> tuple[str, ...]:
    """Say how a source's own splits overlap, which flatters every metric.

    Args:
        splits: (N,) train, val or test.
        copies: (N,) equal numbers where the files or the pixels are identical.
        patients: (N,) group numbers of patients and copies, -1 where no id says whose the image is.
    """
    said = []
    for name, others, where in (("val", ["train"], "train"), ("test", ["train", "val"], "train or val")):
        here, there = splits == name, np.isin(splits, others)
        same = here & np.isin(copies, copies[there])
        people = here & ~same & np.isin(patients, patients[there & (patients != -1)])
        for count, what in ((same.sum(), "are"), (people.sum(), "are of patients who are")):
            if count:
                shared = f"{count:,} of {here.sum():,} {name} images {what} in {where}, too"
                said.append(f"{shared}: {name} metrics flatter the network.")
    return tuple(said)


def _check_classes(
    listing: Listing,
    files: tuple[XrayFile, ...],
    class_names: Sequence[str],
    *,
    named: bool,
    unreadable: Sequence[tuple[str, str]] = (),
) -> None:
    """Stop unless every split that the source has, or the whole source, holds images of all classes."""
    if listing.splits and "train" not in listing.splits:  # only a table can say so
        others = " and ".join(listing.splits)
        lost = "has no label that counts for any training image" if "train" in listing.emptied else (
            "names no training image")  # fmt: skip
        raise DataError(
            f"{listing.root}: {lost}, all are of {others}; expected images of train, too, so mark "
            "some as train, or remove the column of splits to have the images divided."
        )
    found = Counter((file.split if listing.splits else None, file.label) for file in files)
    needed = dict.fromkeys(("train", *listing.splits)) if listing.splits else (None,)
    for split in needed:
        for label, class_name in enumerate(class_names):
            if (split, label) in found:
                continue
            where = "" if split is None else f", in {' and in '.join(map(str, needed))}"
            if named:
                have = (f"{name} ({found[split, at]:,})" for at, name in enumerate(class_names) if (split, at) in found)
                said = [note for note in listing.notes if LEFT_OUT in note]
                said += filter(None, [NamedClasses(class_names).undivided(class_name)])
                raise ClassesError(
                    f"{listing.root}: of {class_name} there is none{'' if split is None else f' in {split}'} among the "
                    f"usable images, which are of {join_names(have)[:200] or 'no listed class'}",
                    f"; expected images of all classes, {join_names(class_names)[:200]}{where}. "
                    f"{' '.join([*said, 'Correct'])} 'data.classes' or the labels in the source, which have to be the "
                    "same names, or add images.",
                )
            place = listing.root / class_name if split is None else listing.root / split / class_name
            why = f" ({unreadable[0][0][:80]} {unreadable[0][1].split(';')[0]})" if unreadable else ""
            raise DataError(
                f"{place}: holds no usable image{why}; expected images of both classes, {' and '.join(class_names)}"
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
