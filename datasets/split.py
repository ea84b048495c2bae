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
        seed: chooses the folds; of these the first with the truest class counts is taken.
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
    other = "test" if for_test else "validation"
    advice = "; add patients" if for_test else f" with {share} and seed {seed}; add patients or change one of the two"
    for label, class_name in enumerate(class_names):
        in_val = int((mask & (labels == label)).sum())
        if in_val in (0, int((labels == label).sum())):  # possible when one patient has most images of a class
            raise DataError(
                f"the images of class {class_name} cannot be divided between training and {other} patient by patient"
                f"{advice}."
            )
    return mask


def _best_fold(
    labels: NDArray[np.int64], patients: NDArray[np.int64], folds: int, seed: int, classes: int
) -> NDArray[Any]:
    """Return the positions of the validation images.

    With few patients, single folds can lack a class, so the fold counts: its images per class, against an equal share.
    """
    share = np.bincount(labels, minlength=classes) / folds
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # few members per class: checked by the caller, by patients
        candidates = [val for _, val in splitter.split(np.zeros((len(labels), 1)), labels, patients)]
    return min(
        candidates, key=lambda val: float(np.abs(np.bincount(labels[val], minlength=len(share)) / share - 1).max())
    )
