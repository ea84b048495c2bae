"""How good a binary classifier is, from logits, labels and an operating point. Class 1 (pneumonia) is the positive one.

Numbers come from torchmetrics; this module fixes what it leaves open: no hidden sigmoid, and no made-up number where a
class is absent.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional import classification as tm

from contract.errors import DataError

Logits = NDArray[np.floating]
Labels = NDArray[np.int64]
Metrics = dict[str, float | int | None]
KINDS = ("bacteria", "virus")  # of pneumonia, where file names tell


def auc(logits: Logits, labels: Labels) -> float:
    """Return the area under the ROC curve; ties count half. Both are (N,).

    Raises:
        DataError: a class is absent, so there is no curve.
    """
    _, score, target = _check(logits, labels, need_both=True)
    return float(tm.binary_auroc(score, target))


def classification_metrics(logits: Logits, labels: Labels, *, threshold: float) -> Metrics:
    """Return plain numbers for `logits > threshold`.

    Args:
        logits: (N,) one per image.
        labels: (N,) 0 or 1.
        threshold: operating point [logit].

    Returns:
        n, tn, fp, fn, tp (counts), threshold, accuracy, auc, sensitivity, specificity, balanced_accuracy, f1.
        What divides by the size of an absent class is None: without positives sensitivity, f1, without negatives
        specificity; in both cases auc, balanced_accuracy. f1 is 0 where positives exist and none is found.
    """
    values, score, target = _check(logits, labels, need_both=False)
    predicted = torch.from_numpy(values > threshold).to(torch.int64)
    (tn, fp), (fn, tp) = tm.binary_confusion_matrix(predicted, target).tolist()
    has_positives, has_negatives = tp + fn > 0, tn + fp > 0
    sensitivity = float(tm.binary_recall(predicted, target)) if has_positives else None
    specificity = float(tm.binary_specificity(predicted, target)) if has_negatives else None
    both = sensitivity is not None and specificity is not None
    return {
        "n": len(values),
        "tn": tn,
        "fp": fp,
        "fn": fn,
        "tp": tp,
        "threshold": float(threshold),
        "accuracy": float(tm.binary_accuracy(predicted, target)),
        "auc": float(tm.binary_auroc(score, target)) if both else None,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": (sensitivity + specificity) / 2 if both else None,  # type: ignore[operator]
        "f1": float(tm.binary_f1_score(predicted, target)) if has_positives else None,
    }


def sensitivity_by_kind(
    logits: Logits, labels: Labels, kinds: NDArray[np.str_], *, threshold: float
) -> dict[str, float]:
    """Return sensitivity_KIND for each of KINDS that occurs among the positives. Arrays are (N,)."""
    groups = {kind: (kinds == kind) & (labels == 1) for kind in KINDS}
    return {
        f"sensitivity_{kind}": float((logits[rows] > threshold).mean()) for kind, rows in groups.items() if rows.any()
    }


def choose_operating_point(logits: Logits, labels: Labels) -> float:
    """Return the threshold that maximises Youden's J = sensitivity + specificity - 1 for `logits > threshold`.

    It lies midway between neighbouring logits. Of several with the same J, the one closest to 0 is taken, which is
    where a class-balanced loss puts even odds. Give it augmented validation images: clean ones are too easy and their
    threshold far too low for images from elsewhere.

    Raises:
        DataError: a class is absent, or all logits are equal, so that no threshold separates anything.
    """
    values, _, target = _check(logits, labels, need_both=True)
    levels, level_of = np.unique(values, return_inverse=True)  # ascending
    if len(levels) < 2:
        raise DataError(
            f"all {len(values)} logits are {values[0]:g}, so no threshold separates the classes. "
            "The network learned nothing: train longer or with a lower learning rate."
        )
    is_positive = target.numpy() == 1
    positives = np.bincount(level_of[is_positive], minlength=len(levels))
    negatives = np.bincount(level_of[~is_positive], minlength=len(levels))
    middles = (levels[:-1] + levels[1:]) / 2
    # J * P * N as an integer, so that equal J are exactly equal: below middle i lie levels 0..i.
    missed, rejected = np.cumsum(positives)[:-1], np.cumsum(negatives)[:-1]
    j = rejected * positives.sum() - missed * negatives.sum()
    best = np.flatnonzero(j == j.max())
    return float(middles[best[np.argmin(np.abs(middles[best]))]])


def _check(logits: Logits, labels: Labels, *, need_both: bool) -> tuple[NDArray[np.float64], Tensor, Tensor]:
    """Return the logits in float64, their order as scores in 0..1, and the labels; all (N,)."""
    values, target = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if values.ndim != 1 or values.shape != target.shape or not len(values):
        raise DataError(f"found logits {values.shape} and labels {target.shape}, expected one of each per image.")
    if not np.isfinite(values).all():
        raise DataError(
            f"{np.count_nonzero(~np.isfinite(values))} of {len(values)} logits are not finite: "
            "the training diverged. Train with a lower learning rate."
        )
    classes = np.unique(target)
    if not np.isin(classes, (0, 1)).all():
        raise DataError(f"found the labels {classes.tolist()}, expected 0 and 1 only.")
    if need_both and len(classes) < 2:
        raise DataError(
            f"all {len(target)} images are of class {classes[0]}, but both classes are needed. Check the data split."
        )
    # torchmetrics squeezes scores outside 0..1 through a float32 sigmoid, which makes ties. Ranks need none.
    _, rank = np.unique(values, return_inverse=True)
    score = torch.from_numpy(rank / max(int(rank.max()), 1))
    return values, score, torch.from_numpy(target.astype(np.int64))
