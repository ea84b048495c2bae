"""How good a classifier of K classes is, from logits and labels.

Every figure is a function of how often each image counts, so that an interval over patients drawn with replacement is
of exactly the figure beside it. A figure that divides by the size of an absent class is None, and so is a mean over
classes of which one is absent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.decision import log_odds, softmax
from contract.errors import DataError
from qnn.bootstrap import Interval, over_patients, weighted_auc
from qnn.metrics import Labels, Logits, auc
from qnn.records import OF_EACH as OF_EACH
from qnn.reliability import BINS, Reliability, bin_of, reliability_of

OF_ALL = ("accuracy", "balanced_accuracy", "auc", "kappa", "brier", "ece")
Figures = dict[str, NDArray[np.float64]]


def macro_auc(logits: Logits, labels: Labels) -> float:
    """Return the mean over classes of the area under the ROC curve of one class against the rest. Logits are (N, K).

    Raises:
        DataError: a class is absent.
    """
    _check(logits, labels)
    ones = np.ones((1, len(labels)))
    value = float(_aucs(ones, log_odds(logits), labels).mean())
    if not np.isfinite(value):
        absent = sorted(set(range(logits.shape[1])) - set(np.unique(labels).tolist()))
        raise DataError(f"no image is of class {absent[0]}, but all classes are needed. Check the data split.")
    return value


def ranking(logits: Logits, labels: Labels) -> float:
    """Return the AUC of logits (N,), or the macro AUC of (N, K)."""
    return auc(logits, labels) if logits.ndim == 1 else macro_auc(logits, labels)


def class_metrics(
    logits: Logits, labels: Labels, names: Sequence[str], *, called: Labels | None = None
) -> dict[str, Any]:
    """Return plain figures of N images.

    Args:
        logits: (N, K) calibrated.
        labels: (N,) 0..K-1.
        names: of the K classes.
        called: (N,) what the network says; None: the class of the greatest logit.

    Returns:
        n; confusion, K x K, rows by label and columns by answer; OF_ALL, of which auc is the macro AUC, brier the mean
        of the summed squares over classes, and ece the calibration error of the answer's probability at equal class
        sizes; classes: one entry per class with its name, n and OF_EACH.
    """
    _check(logits, labels)
    ones, answers = np.ones((1, len(labels))), _answers(logits, called)
    found = weighted_figures(ones, scores_of(logits), labels, answers)
    counts = _confusion(ones, labels, answers, logits.shape[1])[0]
    return {
        "n": len(labels),
        "confusion": counts.astype(np.int64).tolist(),
        **{name: _plain(found[name][0]) for name in OF_ALL},
        "classes": [
            {
                "name": name,
                "n": int(counts[k].sum()),
                **{figure: _plain(found[f"{figure}_each"][0, k]) for figure in OF_EACH},
            }
            for k, name in enumerate(names)
        ],
    }


def class_intervals(
    logits: Logits, labels: Labels, patients: NDArray[np.int64], *, called: Labels | None = None
) -> tuple[dict[str, Interval], list[dict[str, Interval]]]:
    """Return the 95 % intervals over patients of OF_ALL, and of OF_EACH for each class. Arguments: `class_metrics`."""
    answers, scores, classes = _answers(logits, called), scores_of(logits), logits.shape[1]

    def measure(weights: NDArray[np.float64]) -> Figures:
        found = weighted_figures(weights, scores, labels, answers)
        flat = {name: found[name] for name in OF_ALL}
        for figure in OF_EACH:
            flat |= {f"{k} {figure}": found[f"{figure}_each"][:, k] for k in range(classes)}
        return flat

    every = over_patients(patients, measure)
    each = [{name: every[f"{k} {name}"] for name in OF_EACH if f"{k} {name}" in every} for k in range(classes)]
    return {name: every[name] for name in OF_ALL if name in every}, each


@dataclass(frozen=True)
class Scores:
    """What the figures need of logits (N, K), computed once for all draws."""

    odds: NDArray[np.float64]  # (N, K) log-odds of each class
    probabilities: NDArray[np.float64]  # (N, K)


def scores_of(logits: Logits) -> Scores:
    """Return the scores of (N, K) calibrated logits."""
    return Scores(log_odds(logits), softmax(logits))


def weighted_figures(weights: NDArray[np.float64], scores: Scores, labels: Labels, answers: Labels) -> Figures:
    """Return OF_ALL, (D,), and each of OF_EACH as NAME_each, (D, K), for weights (D, N); NaN where undefined."""
    probabilities, classes = scores.probabilities, scores.odds.shape[1]
    table, truth = _confusion(weights, labels, answers, classes), np.eye(classes)[labels]
    right, size, said = np.einsum("dkk->dk", table), table.sum(axis=2), table.sum(axis=1)
    total = size.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may lack a class
        sensitivity = right / size
        others = total[:, None] - size
        agreed, chance = right.sum(axis=1) / total, (size * said).sum(axis=1) / total**2
        aucs = _aucs(weights, scores.odds, labels)
        return {
            "accuracy": agreed,
            "balanced_accuracy": sensitivity.mean(axis=1),
            "auc": aucs.mean(axis=1),
            "kappa": (agreed - chance) / (1 - chance),
            "brier": weights @ ((probabilities - truth) ** 2).sum(axis=1) / total,
            "ece": _ece(weights, probabilities, labels, answers),
            "sensitivity_each": sensitivity,
            "specificity_each": (others - said + right) / others,
            "precision_each": right / said,
            "auc_each": aucs,
        }


def class_reliability(logits: Logits, labels: Labels) -> Reliability:
    """Compare the probability of the answer with how often it is right, as if all classes had the same size."""
    _check(logits, labels)
    probabilities, answers = softmax(logits), _answers(logits, None)
    return reliability_of(probabilities[np.arange(len(labels)), answers], answers == labels, labels)


def _ece(
    weights: NDArray[np.float64], probabilities: NDArray[np.float64], labels: Labels, answers: Labels
) -> NDArray[np.float64]:
    """Return (D,) the calibration error of the answers at equal class sizes."""
    sure = probabilities[np.arange(len(labels)), answers]
    gap = np.zeros((len(labels), BINS))
    gap[np.arange(len(labels)), bin_of(sure)] = sure - (answers == labels)
    shares, present = np.zeros((len(weights), BINS)), np.zeros(len(weights))
    for label in np.unique(labels):
        rows = labels == label
        size = weights[:, rows].sum(axis=1)
        shares += weights[:, rows] @ gap[rows] / np.maximum(size, 1)[:, None]
        present += size > 0
    return np.asarray(np.abs(shares).sum(axis=1) / present)


def _aucs(weights: NDArray[np.float64], odds: NDArray[np.float64], labels: Labels) -> NDArray[np.float64]:
    """Return (D, K) the area of each class against the rest."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([weighted_auc(weights, odds[:, k], labels == k) for k in range(odds.shape[1])], axis=1)


def _confusion(weights: NDArray[np.float64], labels: Labels, answers: Labels, classes: int) -> NDArray[np.float64]:
    """Return (D, K, K): rows by label, columns by answer."""
    cells, cell_of = np.unique(labels * classes + answers, return_inverse=True)
    table = np.zeros((len(weights), classes * classes))
    table[:, cells] = weights @ np.eye(len(cells))[cell_of.reshape(-1)]
    return table.reshape(len(weights), classes, classes)


def _answers(logits: Logits, called: Labels | None) -> Labels:
    return np.asarray(logits.argmax(axis=1) if called is None else called, dtype=np.int64)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _check(logits: Logits, labels: Labels) -> None:
    if logits.ndim != 2 or len(logits) != len(labels) or not len(labels):
        raise DataError(f"found logits {logits.shape} and labels {labels.shape}, expected K logits for each image.")
    if not np.isfinite(logits).all():
        raise DataError("logits are not finite: the training diverged. Train with a lower learning rate.")
    foreign = np.unique(labels[(labels < 0) | (labels >= logits.shape[1])])
    if len(foreign):
        raise DataError(f"found the label {foreign[0]}, expected 0 to {logits.shape[1] - 1}.")
