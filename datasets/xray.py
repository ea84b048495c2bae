"""The shapes that every source of X-rays returns, so that training never asks where the images came from."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASS_NAMES = ("NORMAL", "PNEUMONIA")  # the position is the label


@dataclass(frozen=True, eq=False)  # eq: arrays have no single truth value
class Split:
    """Images of one split, N of them, H x W each."""

    pixels: NDArray[np.uint8]  # (N, H, W)
    labels: NDArray[np.int64]  # (N,) 0 normal, 1 pneumonia; of K classes 0..K-1
    patients: NDArray[np.int64]  # (N,) group number: equal where a patient or an image content is shared; no names
    names: tuple[str, ...]  # (N,) file names relative to the data root, with "/"

    def __post_init__(self) -> None:
        """Check what every later stage relies on."""
        n = len(self.names)
        assert self.pixels.dtype == np.uint8 and self.pixels.ndim == 3 and len(self.pixels) == n
        assert self.labels.shape == self.patients.shape == (n,)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def take(self, which: NDArray[Any]) -> "Split":
        """Return the images that `which`, a mask or positions, selects."""
        positions = np.arange(len(self))[which]
        names = tuple(self.names[i] for i in positions)
        return Split(self.pixels[positions], self.labels[positions], self.patients[positions], names)


@dataclass(frozen=True)
class DataReport:
    """What was found in the data and what was done about it."""

    counts: dict[str, dict[str, int]]  # images by split (train, val, test) and class name
    duplicates: tuple[tuple[str, ...], ...]  # names of images with identical content, in groups of two or more
    unreadable: tuple[tuple[str, str], ...]  # (name, reason) of the images that were left out
    patients_in_train_and_test: int  # group numbers on both sides of the release's own split; train includes val
    train_val_patient_overlap: int  # group numbers in both train and validation: 0 unless the source has its own val
    notes: tuple[str, ...] = ()  # sentences on what the source does not say and what was done about it
    warnings: tuple[str, ...] = ()  # those of the notes that somebody should look into

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able dicts, lists, strings and integers."""
        return {
            **asdict(self),
            "duplicates": [list(group) for group in self.duplicates],
            "unreadable": [list(pair) for pair in self.unreadable],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, eq=False)
class XrayData:
    """A complete data set."""

    train: Split
    val: Split
    test: Split
    fingerprint: str  # sha256 [hex] of the content, see `fingerprint`
    source: str  # one line for people: where the images came from
    report: DataReport
    class_names: tuple[str, ...] = CLASS_NAMES  # the position is the label


def known_as(classes: Sequence[str] | None, label: int) -> str:
    """Return what a class is in the fingerprint: the user's own (None: he named none) with their numbers, too."""
    return CLASS_NAMES[label] if classes is None else f"{label} {classes[label]}"


def fingerprint(images: Iterable[tuple[str, str, str]]) -> str:
    """Return a sha256 [hex] over (split, class name, sha256 of the image content) of all images.

    The split is the source's own: train, test, or val where it has one. Order, names, times and our train/val split do
    not matter.
    """
    lines = sorted(f"{split} {class_name} {content}\n" for split, class_name, content in images)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def make_report(
    train: Split,
    val: Split,
    test: Split,
    *,
    duplicates: tuple[tuple[str, ...], ...] = (),
    unreadable: tuple[tuple[str, str], ...] = (),
    notes: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
    class_names: Sequence[str] = CLASS_NAMES,
) -> DataReport:
    """Count what is in the three splits."""
    splits = {"train": train, "val": val, "test": test}
    known = np.union1d(train.patients, val.patients)
    return DataReport(
        counts={
            name: {class_name: int((split.labels == label).sum()) for label, class_name in enumerate(class_names)}
            for name, split in splits.items()
        },
        duplicates=duplicates,
        unreadable=unreadable,
        patients_in_train_and_test=len(np.intersect1d(known, test.patients)),
        train_val_patient_overlap=len(np.intersect1d(train.patients, val.patients)),
        notes=notes,
        warnings=warnings,
    )
