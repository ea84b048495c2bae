"""From logits to probabilities that mean what they say, and to thresholds for different needs.

Probabilities are fitted on clean and augmented validation images in equal parts, because on clean ones alone the
network is too sure of itself; thresholds for a given need come from augmented ones. Probabilities are stated for equal
class sizes, because the share of pneumonia among the training images says nothing about a ward; both classes weigh the
same in the fit and in the calibration error.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from contract.decision import sigmoid
from contract.errors import DataError
from qnn.metrics import Labels, Logits, choose_operating_point
from qnn.network import PixelMLP

BINS = 10  # of the reliability diagram, equally wide
SENSITIVITY = 0.95


@dataclass(frozen=True)
class Platt:
    """Calibrated logit = slope * logit + intercept, slope > 0."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class Reliability:
    """What was predicted and what was found, per bin that is not empty; all (B,)."""

    predicted: NDArray[np.float64]  # mean probability of pneumonia
    observed: NDArray[np.float64]  # share of pneumonia
    weight: NDArray[np.float64]  # share of the images in the bin, sums to 1
    ece: float  # expected calibration error: mean |predicted - observed|, by weight


def fit_platt(logits: Logits, labels: Labels) -> Platt:
    """Fit p = sigmoid(slope * logit + intercept) with both classes weighing the same. Both are (N,).

    Source: Platt, "Probabilistic outputs for support vector machines", 1999; scikit-learn's LogisticRegression.

    Returns:
        The fit. Where higher logits do not go with pneumonia, nothing was learned and nothing can be calibrated: then
        slope 1 and intercept 0.
    """
    # The default, weak penalty on the slope keeps it finite where the classes are separated without an error.
    fit = LogisticRegression(class_weight="balanced").fit(np.asarray(logits, dtype=np.float64)[:, None], labels)
    slope, intercept = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    return Platt(slope, intercept) if slope > 0 else Platt(1.0, 0.0)


def calibrate(net: PixelMLP, platt: Platt) -> None:
    """Make the calibrated logit the network's own, in the head's batch norm.

    The integers of the hardware stay as they are: the head's batch norm is a host-side number.
    """
    with torch.no_grad():
        norm = net.head.norm
        norm.weight.mul_(platt.slope)
        norm.bias.mul_(platt.slope).add_(platt.intercept)


def operating_points(logits: Logits, labels: Labels) -> dict[str, float]:
    """Return thresholds for `logits > threshold` by rule [logit]; `logits` are calibrated. Both are (N,)."""
    positives = np.sort(np.asarray(logits, dtype=np.float64)[labels == 1])
    if not len(positives):
        raise DataError("no image shows pneumonia, so no threshold has a sensitivity. Check the data split.")
    missed = int(np.floor((1 - SENSITIVITY) * len(positives) + 1e-9))  # as many may lie at or below the threshold
    # Just below the lowest positive that must be found.
    return {
        "balanced": 0.0,
        "youden": choose_operating_point(logits, labels),
        "sensitivity_95": float(np.nextafter(positives[missed], -np.inf)),
    }


def bin_of(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (N,) which of BINS equal bins each probability lies in."""
    return np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)


def reliability(logits: Logits, labels: Labels) -> Reliability:
    """Compare calibrated probabilities with labels, both (N,), as if both classes had the same size."""
    predicted_each = sigmoid(logits)
    counts = np.bincount(labels, minlength=2)
    weight = 1 / (2 * np.maximum(counts, 1))[labels]
    weight /= weight.sum()  # where a class is absent
    bins = bin_of(predicted_each)
    sums = [
        np.bincount(bins, weights=weight * values, minlength=BINS).astype(np.float64)
        for values in (np.ones(len(labels)), predicted_each, labels)
    ]
    used = sums[0] > 0
    total = sums[0][used]
    predicted, observed = sums[1][used] / total, sums[2][used] / total
    return Reliability(predicted, observed, total, float((total * np.abs(predicted - observed)).sum()))
