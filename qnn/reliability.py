"""Whether what is predicted happens as often as it is predicted, at equal class sizes: one curve for every figure.

NumPy alone: a report is written in a second, and importing PyTorch and scikit-learn would take longer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10  # of the reliability diagram, equally wide


@dataclass(frozen=True)
class Reliability:
    """What was predicted and what was found, per bin that is not empty; all (B,)."""

    predicted: NDArray[np.float64]  # mean probability of pneumonia; of K classes, of the answer
    observed: NDArray[np.float64]  # share of pneumonia; of K classes, of right answers
    weight: NDArray[np.float64]  # share of the images in the bin, sums to 1
    ece: float  # expected calibration error: mean |predicted - observed|, by weight


def bin_of(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (N,) which of BINS equal bins each probability lies in."""
    return np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)


def reliability_of(
    probability: NDArray[np.float64], happened: NDArray[np.int64] | NDArray[np.bool_], labels: NDArray[np.int64]
) -> Reliability:
    """Compare the probability of something with whether it happened, both (N,), as if all classes had the same size."""
    weight = 1 / np.maximum(np.bincount(labels), 1)[labels]
    weight /= weight.sum()
    bins = bin_of(probability)
    sums = [
        np.bincount(bins, weights=weight * values, minlength=BINS).astype(np.float64)
        for values in (np.ones(len(labels)), probability, happened)
    ]
    used = sums[0] > 0
    total = sums[0][used]
    predicted, observed = sums[1][used] / total, sums[2][used] / total
    return Reliability(predicted, observed, total, float((total * np.abs(predicted - observed)).sum()))
