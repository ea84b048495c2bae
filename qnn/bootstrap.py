"""How far a figure could be off because these patients were tested and not others.

Patients are drawn with replacement, not images: images of one patient are alike, and treating them as independent
would make the intervals too narrow. Source: Field and Welsh, "Bootstrapping clustered data", JRSS B 69(3), 2007.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from contract.decision import sigmoid
from qnn.metrics import KINDS, Labels, Logits
from qnn.reliability import BINS, bin_of

DRAWS = 2000
SEED = 0xB007
CHUNK = 250  # draws at once; bounds memory

Interval = tuple[float, float]


def patient_intervals(
    logits: Logits,
    labels: Labels,
    patients: NDArray[np.int64],
    *,
    threshold: float,
    kinds: NDArray[np.str_] | None = None,
) -> dict[str, Interval]:
    """Return the 2.5 and 97.5 % percentiles of every metric over patients drawn with replacement.

    Args:
        logits: (N,).
        labels: (N,) 0 or 1.
        patients: (N,) group numbers.
        threshold: operating point [logit].
        kinds: (N,) texts of metrics.KINDS or others; adds the sensitivity for each.

    Returns:
        Intervals by metric, the calibration error (ece) too. Draws in which a metric is undefined do not count; one
        that never is, is left out.
    """
    which = np.full(len(labels), "") if kinds is None else kinds
    return over_patients(patients, lambda weights: _weighted_metrics(weights, logits, labels, threshold, which))


def over_patients(
    patients: NDArray[np.int64], measure: Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]
) -> dict[str, Interval]:
    """Return the 2.5 and 97.5 % percentiles of figures over patients (N,) drawn with replacement.

    `measure` takes weights (D, N), how often each image was drawn, and gives (D,) values per figure, NaN where it is
    undefined: these do not count, and a figure that is never defined is left out.
    """
    _, patient_of = np.unique(patients, return_inverse=True)
    rng, number = np.random.default_rng(SEED), int(patient_of.max()) + 1
    parts = []
    for _ in range(DRAWS // CHUNK):
        drawn = rng.multinomial(number, np.full(number, 1 / number), size=CHUNK)
        parts.append(measure(drawn[:, patient_of].astype(np.float64)))
    intervals = {}
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts])
        values = values[np.isfinite(values)]
        if len(values):
            low, high = np.percentile(values, [2.5, 97.5])
            intervals[name] = (float(low), float(high))
    return intervals


def _weighted_metrics(
    weights: NDArray[np.float64], logits: Logits, labels: Labels, threshold: float, kinds: NDArray[np.str_]
) -> dict[str, NDArray[np.float64]]:
    """Return (D,) values per metric for weights (D, N): how often each image was drawn."""
    positive, called = labels == 1, np.asarray(logits) > threshold
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may lack a class
        tp, fn = weights[:, positive & called].sum(axis=1), weights[:, positive & ~called].sum(axis=1)
        fp, tn = weights[:, ~positive & called].sum(axis=1), weights[:, ~positive & ~called].sum(axis=1)
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        found = {
            "accuracy": (tp + tn) / (tp + tn + fp + fn),
            "auc": weighted_auc(weights, logits, positive),
            "sensitivity": sensitivity,
            "specificity": specificity,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "f1": 2 * tp / (2 * tp + fp + fn),
            "ece": _weighted_ece(weights, logits, labels),
        }
        for kind in KINDS:
            rows = positive & (kinds == kind)
            found[f"sensitivity_{kind}"] = weights[:, rows & called].sum(axis=1) / weights[:, rows].sum(axis=1)
    return found


def weighted_auc(weights: NDArray[np.float64], logits: Logits, positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (D,) for weights (D, N) the share of (positive, negative) pairs in the right order, ties counting half."""
    order = np.argsort(logits, kind="stable")
    first = np.flatnonzero(np.diff(np.asarray(logits)[order], prepend=np.nan) != 0)  # of each run of equal logits
    in_order, is_positive = weights[:, order], positive[order]
    up = np.add.reduceat(in_order * is_positive, first, axis=1)  # (D, levels)
    down = np.add.reduceat(in_order * ~is_positive, first, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    return np.asarray((up * below).sum(axis=1) / (up.sum(axis=1) * down.sum(axis=1)))


def _weighted_ece(weights: NDArray[np.float64], logits: Logits, labels: Labels) -> NDArray[np.float64]:
    """Return (D,) the calibration error at equal class sizes, see qnn.calibration.reliability."""
    predicted = sigmoid(logits)
    gap = np.zeros((len(labels), BINS))
    gap[np.arange(len(labels)), bin_of(predicted)] = predicted - labels
    shares, present = np.zeros((len(weights), BINS)), np.zeros(len(weights))
    for label in (0, 1):
        rows = labels == label
        size = weights[:, rows].sum(axis=1)
        shares += weights[:, rows] @ gap[rows] / np.maximum(size, 1)[:, None]
        present += size > 0
    return np.asarray(np.abs(shares).sum(axis=1) / present)
