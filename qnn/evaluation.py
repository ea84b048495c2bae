"""Measure a trained network on one set of images: metrics, intervals, calibration, every operating point."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.classes import pneumonia_kind
from datasets.xray import CLASS_NAMES, Split
from qnn.bootstrap import patient_intervals
from qnn.calibration import answers_at, reliability
from qnn.class_metrics import class_intervals, class_metrics
from qnn.metrics import Logits, classification_metrics, sensitivity_by_kind

AT_POINTS = ("threshold", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1")


def evaluate_split(
    logits: Logits,
    split: Split,
    points: Mapping[str, float],
    *,
    rule: str,
    names: Sequence[str] = CLASS_NAMES,
    one_class: str | None = None,
) -> dict[str, Any]:
    """Return what there is to say about calibrated logits, (N,) or (N, K), of `split`.

    Args:
        logits: (N,) calibrated; or (N, K), of which the greatest is the answer.
        split: the images.
        points: thresholds by rule [logit]; of (N, K), margins for `one_class`.
        rule: the one that the metrics are stated at.
        names: of the classes.
        one_class: the one that `points` are for.

    Returns:
        Of (N, K), `class_metrics`, operating_points, and intervals, metric -> [low, high], 95 % over patients, in all
        and of each class.
        Of (N,), `classification_metrics`, the sensitivity for each kind of pneumonia that file names tell, and
        intervals: metric -> [low, high], 95 % over patients;
        ece: at equal class sizes;
        operating_points: rule -> threshold and what it gives.
    """
    if logits.ndim == 2:
        of_all, each = class_intervals(logits, split.labels, split.patients)
        found = class_metrics(logits, split.labels, names)
        for of_class, ends in zip(found["classes"], each, strict=True):
            of_class["intervals"] = {name: list(interval) for name, interval in ends.items()}
        at_points = {name: _at_point(logits, split, names, str(one_class), point) for name, point in points.items()}
        return {
            **found,
            "intervals": {name: list(interval) for name, interval in of_all.items()},
            "operating_points": at_points,
        }
    kinds = pneumonia_kinds(split.names)
    threshold = points[rule]
    by_rule: dict[str, Any] = {}
    for name, point in points.items():
        found = classification_metrics(logits, split.labels, threshold=point)
        by_rule[name] = {
            **{key: found[key] for key in AT_POINTS},
            **sensitivity_by_kind(logits, split.labels, kinds, threshold=point),
        }
    intervals = patient_intervals(logits, split.labels, split.patients, threshold=threshold, kinds=kinds)
    return {
        **classification_metrics(logits, split.labels, threshold=threshold),
        **sensitivity_by_kind(logits, split.labels, kinds, threshold=threshold),
        "intervals": {name: list(interval) for name, interval in intervals.items()},
        "ece": reliability(logits, split.labels).ece,
        "operating_points": by_rule,
    }


def _at_point(
    logits: Logits, split: Split, names: Sequence[str], one_class: str, margin: float
) -> dict[str, float | None]:
    """Return what an operating point for one class gives: of all, and of that class against the rest."""
    label = names.index(one_class)
    found = class_metrics(logits, split.labels, names, called=answers_at(logits, label, margin))
    of_class = {name: found["classes"][label][name] for name in ("sensitivity", "specificity", "precision")}
    return {"margin": margin, **{name: found[name] for name in ("accuracy", "balanced_accuracy")}, **of_class}


def pneumonia_kinds(names: Sequence[str]) -> NDArray[np.str_]:
    """Return (N,) what the public release's file names say: bacteria, virus or nothing."""
    return np.array([pneumonia_kind(name) for name in names], dtype="U8")


def merge(splits: Sequence[Split]) -> Split:
    """Return all images of several splits of one data set as one."""
    return Split(
        np.concatenate([split.pixels for split in splits]),
        np.concatenate([split.labels for split in splits]),
        np.concatenate([split.patients for split in splits]),
        tuple(name for split in splits for name in split.names),
    )
