"""ROC and precision-recall from the integers that the accelerator gives.

NumPy alone: a report is written in a second, and importing PyTorch and scikit-learn for the same numbers takes longer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """What every threshold would give, from none called positive to all; K thresholds."""

    false_rate: Floats  # (K,) 1 - specificity
    sensitivity: Floats  # (K,) also the recall
    precision: Floats  # (K,) share of those called positive that are; 1 where none is called
    average_precision: float  # step-wise area below precision over recall


def curves(logits: NDArray[np.int64] | Floats, labels: NDArray[np.int64]) -> Curves | None:
    """Return the curves of `logits > threshold`; both are (N,). None if a class is absent."""
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if not positives or not negatives:
        return None
    order = np.argsort(-logits, kind="stable")
    last = np.flatnonzero(np.diff(logits[order], append=logits.min() - 1))  # of each run of equal logits
    true = np.concatenate([[0], np.cumsum(labels[order] == 1)[last]])
    called = np.concatenate([[0], last + 1])
    precision = np.divide(true, called, out=np.ones(len(called)), where=called > 0)
    recall = true / positives
    return Curves((called - true) / negatives, recall, precision, float((np.diff(recall) * precision[1:]).sum()))
