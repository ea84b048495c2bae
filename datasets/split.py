"""Choose the validation images: whole patients, all classes in the proportion of the training data."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from contract.errors import ConfigError, DataError
from datasets.xray import CLASS_NAMES


def validation_mask(
    labels: NDArray[np.int64],
    patients: NDArray[np.int64],
    *,
    val_fraction: float,
    seed: int,
    for_test: bool = False,
    class_names: Sequence[str] = CLASS_NAMES,
) -> NDArray[np.bool_]:
    """Return (N,) true where an image is for validation: one of round(1 / val_fraction) folds of whole patients.

    Args:
        labels: (N,) positions in `class_names`.
        patients: (N,) group numbers; a group is never divided.
        val_fraction: wanted share of validation images, up to 0.5; met as closely as whole patients allow.
        seed: chooses the folds; of these the first with the truest class counts is taken. Unless it is near enough,
            patients are moved. With one image per patient, every class ends at its share, rounded.
        for_test: the images are for testing, and neither number is the user's: messages do not ask to change them.
        class_names: of every label.
    """
    if not 0 < val_fraction <= 0.5:
        raise ConfigError(f"val_fraction is {val_fraction:g}, but it must be above 0 and at most 0.5; 0.1 is usual.")
    folds = round(1 / val_fraction)
    whose = "" if for_test else "training "
    share = f"a test split of {val_fraction:.0%}" if for_test else f"val_fraction {val_fraction:g}"
    for label, class_name in enumerate(class_names):
        found = len(np.unique(patients[labels == label]))
        if found < folds:
            source = "1 patient" if found == 1 else f"{found} patients"
            raise DataError(
                f"the {whose}images of class {class_name} come from {source}, but {share} needs at least "
                f"{folds}; add images{'' if for_test else ' or raise val_fraction'}."
            )
    mask = np.zeros(len(labels), dtype=np.bool_)
    mask[_best_fold(labels, patients, folds, seed, len(class_names))] = True
    if not _near_enough(mask, labels, patients, folds):
        mask = _nearer(mask, labels, patients, folds, seed)
    other = "test" if for_test else "validation"
    advice = "" if for_test else f", or change {share} or seed {seed}, which chose them"
    for label, class_name in enumerate(class_names):
        in_val = int((mask & (labels == label)).sum())
        if in_val in (0, int((labels == label).sum())):  # possible where patients have images of several classes
            raise DataError(
                f"whole patients leave no image of class {class_name} for {other if in_val == 0 else 'training'}; "
                f"add patients{advice}."
            )
    return mask


def _best_fold(
    labels: NDArray[np.int64], patients: NDArray[np.int64], folds: int, seed: int, classes: int
) -> NDArray[Any]:
    """Return the positions of the validation images.

    The folds are rough: scikit-learn (1.7) shuffles what it knows of the patients, but not the patients. So the fold
    counts: its images per class, against an equal share.
    """
    share = np.bincount(labels, minlength=classes) / folds
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # few members per class: checked by the caller, by patients
        candidates = [val for _, val in splitter.split(np.zeros((len(labels), 1)), labels, patients)]
    return min(
        candidates, key=lambda val: float(np.abs(np.bincount(labels[val], minlength=len(share)) / share - 1).max())
    )


def _near_enough(mask: NDArray[np.bool_], labels: NDArray[np.int64], patients: NDArray[np.int64], folds: int) -> bool:
    """Return whether every class is within half an image of its share.

    Where patients have several images, an eighth of the share is near enough: the splits that published figures are
    of stay what they are.
    """
    images = np.bincount(labels)
    off = np.abs(folds * np.bincount(labels[mask], minlength=len(images)) - images)  # [1 / folds images]
    several = len(np.unique(patients)) < len(patients)
    return bool(np.all((2 * off <= folds) | (several & (8 * off <= images))))


def _nearer(
    mask: NDArray[np.bool_], labels: NDArray[np.int64], patients: NDArray[np.int64], folds: int, seed: int
) -> NDArray[np.bool_]:
    """Return the mask after moving whole patients, in an order by the seed, until no move brings the classes nearer.

    Near is the sum over classes of (images / share - 1)^2, about, in integers: each step makes it smaller, so it ends.
    """
    images = np.bincount(labels)
    off = (folds * np.bincount(labels[mask], minlength=len(images)) - images).tolist()  # [1 / folds images]
    weight = [(int(images.max()) // count) ** 2 for count in images.tolist()]
    _, first, patient_of = np.unique(patients, return_index=True, return_inverse=True)
    pairs, counts = np.unique(patient_of * len(images) + labels, return_counts=True)
    has: list[list[tuple[int, int]]] = [[] for _ in first]
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        has[pair // len(images)].append((pair % len(images), folds * count))
    sign = np.where(mask[first], -1, 1).tolist()
    order = np.random.default_rng(seed).permutation(len(has)).tolist()
    moved = True
    while moved:
        moved = False
        for patient in order:
            step = sign[patient]
            if sum(weight[k] * n * (2 * step * off[k] + n) for k, n in has[patient]) < 0:
                for k, n in has[patient]:
                    off[k] += step * n
                sign[patient], moved = -step, True
    return np.asarray(np.array(sign)[patient_of] < 0)
