"""From logits to probabilities that mean what they say, and to thresholds for different needs.

Probabilities are fitted on clean and augmented validation images in equal parts, because on clean ones alone the
network is too sure of itself; thresholds for a given need come from augmented ones. Probabilities are stated for equal
class sizes, because the share of pneumonia among the training images says nothing about a ward; both classes weigh the
same in the fit and in the calibration error. K classes have one temperature and a bias each, in place of slope and
intercept.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from contract.decision import sigmoid, softmax
from contract.errors import DataError
from qnn.metrics import Labels, Logits, choose_operating_point
from qnn.network import PixelMLP
from qnn.reliability import Reliability, reliability_of

SENSITIVITY = 0.95


@dataclass(frozen=True)
class Platt:
    """Calibrated logit = slope * logit + intercept, slope > 0."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class Scaling:
    """Calibrated logit k = slope * logit k + intercept[k], slope > 0: the same order of one class against another."""

    slope: float
    intercept: tuple[float, ...]  # (K,), of sum 0


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


def fit_scaling(logits: Logits, labels: Labels) -> Scaling:
    """Fit p = softmax(slope * logits + intercept) with all classes weighing the same: (N, K) logits, (N,) labels.

    Source: Guo et al., "On calibration of modern neural networks", arXiv:1706.04599 (temperature scaling); the bias
    for each class is that of Alexandari et al., "Maximum likelihood with bias-corrected calibration is hard-to-beat at
    label shift adaptation", ICML 2020.

    Returns:
        The fit; slope 1 and intercepts 0 where higher logits do not go with their class, as in `fit_platt`.
    """
    values, classes = np.asarray(logits, dtype=np.float64), logits.shape[1]
    counts = np.bincount(labels, minlength=classes)
    weight, truth = (len(labels) / (classes * np.maximum(counts, 1)))[labels], np.eye(classes)[labels]

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        real = parameters[0] * values + parameters[1:]
        shares = softmax(real)
        greatest = real.max(axis=1)
        log_sum = greatest + np.log(np.exp(real - greatest[:, None]).sum(axis=1))
        each = log_sum - real[np.arange(len(labels)), labels]
        slope = (weight[:, None] * (shares - truth)).sum(axis=0)
        # A weak penalty on the slope, as scikit-learn's in `fit_platt`: without an error it would grow for ever.
        value = float(weight @ each) + 0.5 * float(parameters[0]) ** 2
        first = float((weight[:, None] * (shares - truth) * values).sum()) + float(parameters[0])
        return value / len(labels), np.array([first, *slope]) / len(labels)

    found = minimize(loss, np.array([1.0, *np.zeros(classes)]), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    if not found[0] > 0 or not np.isfinite(found).all():
        return Scaling(1.0, (0.0,) * classes)
    return Scaling(float(found[0]), tuple((found[1:] - found[1:].mean()).tolist()))


def calibrate(net: PixelMLP, fit: Platt | Scaling) -> None:
    """Make the calibrated logits the network's own, in the head's batch norm.

    The integers of the hardware stay as they are: the head's batch norm is a host-side number.
    """
    with torch.no_grad():
        norm = net.head.norm
        norm.weight.mul_(fit.slope)
        norm.bias.mul_(fit.slope).add_(torch.tensor(fit.intercept).to(norm.bias))


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


def margins(logits: Logits, label: int) -> Logits:
    """Return (N,) how much greater the logit of one class is than all others, of (N, K); below 0 where it is not."""
    return np.asarray(logits[:, label] - np.delete(logits, label, axis=1).max(axis=1))


def class_operating_points(logits: Logits, labels: Labels, label: int) -> dict[str, float]:
    """Return margins by rule, for the answer `label` where `margins(logits, label)` is greater; logits are (N, K).

    The greatest logit is the answer at margin 0.
    """
    points = operating_points(margins(logits, label), (labels == label).astype(np.int64))
    return {name: margin for name, margin in points.items() if name != "balanced"}


def answers_at(logits: Logits, label: int, margin: float) -> Labels:
    """Return (N,) what is answered at an operating point for one class: see contract.decision.OneAgainstRest."""
    others = np.array(logits, dtype=np.float64)
    others[:, label] = -np.inf
    return np.where(margins(logits, label) > margin, np.int64(label), others.argmax(axis=1))


def reliability(logits: Logits, labels: Labels) -> Reliability:
    """Compare calibrated probabilities with labels, both (N,), as if both classes had the same size."""
    return reliability_of(sigmoid(logits), labels, labels)
