"""The records of this folder: what a training and an evaluation leave, as everybody else reads it. No PyTorch."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from contract.files import damaged, read_text
from contract.record import Count, Number, Record, Share, Text, Versions

FOOTER = "Research use only, not a medical device"  # below every figure, and in every file of metrics
Few: Any = Field(max_length=20, default_factory=dict)


class Point(Record):
    """The classifier at one threshold. None: a class is absent."""

    threshold: Number
    accuracy: Share
    balanced_accuracy: Share | None = None
    sensitivity: Share | None = None
    specificity: Share | None = None
    f1: Share | None = None


class Measured(Point):
    """Metrics of one set of images at the chosen threshold."""

    n: Count
    tn: Count
    fp: Count
    fn: Count
    tp: Count
    auc: Share | None = None
    sensitivity_bacteria: Share | None = None
    sensitivity_virus: Share | None = None
    ece: Share
    intervals: Annotated[dict[Text, tuple[Share, Share]], Few]  # 95 % over patients
    operating_points: Annotated[dict[Text, Point], Few]

    def value(self, name: str) -> float | None:
        """Return a metric by its name; None where it is undefined here."""
        found = getattr(self, name)
        return None if found is None else float(found)


class Calibration(Record):
    """Platt scaling."""

    slope: Number
    intercept: Number
    validation_ece_before: Share
    validation_ece: Share


class MadeFrom(Record):
    """Where a training came from."""

    git_commit: Text | None = None


class Best(Record):
    """The epoch that was kept."""

    monitor: Number  # mean AUC of clean and augmented validation images


class Metrics(Record):
    """metrics.json."""

    command = "train"
    network: Text
    source: Text
    fingerprint: Text
    split: Text = ""  # fingerprint of the training images and their patients
    operating_point_rule: Text
    operating_points: Annotated[dict[Text, Number], Few]  # empty: an earlier version chose none
    calibration: Calibration | None = None
    validation: Measured
    test: Measured | None = None  # None: nobody has looked at the test images
    best: Best | None = None
    best_epoch: Count
    epochs_trained: Count
    seconds: Number
    counts: Annotated[dict[Text, dict[Text, Count]], Field(min_length=1, max_length=5)]
    made_from: MadeFrom = MadeFrom()
    versions: Versions


class ShiftLevel(Record):
    """The classifier under one shift."""

    shift: Text
    unit: Text
    level: Number
    accuracy: Share
    auc: Share | None = None
    balanced_accuracy: Share | None = None


class SeenImages(Record):
    """How many of the measured images the training has used."""

    train: Count  # to fit the weights
    val: Count  # to choose by


class Evaluation(Measured):
    """evaluation.json."""

    command = "evaluate"
    source: Text
    seen: SeenImages | None = None  # unknown where an earlier version trained
    shifts: Annotated[list[ShiftLevel], Field(max_length=200, default_factory=list)]


@dataclass(frozen=True)
class Epoch:
    """One row of history.csv."""

    epoch: float
    train_loss: float
    val_loss: float
    val_auc: float
    val_auc_aug: float

    @classmethod
    def of(cls, row: dict[str, str]) -> Self:
        """Read the texts of one row. Raises ValueError, KeyError or TypeError."""
        values = {name: float(row[name]) for name in cls.__dataclass_fields__}
        if not np.isfinite(list(values.values())).all():
            raise ValueError("a value is not finite")
        return cls(**values)


def read_history(path: Path) -> list[Epoch]:
    """Return history.csv. Raises ArtifactError."""
    advice = f"Delete {path.parent} and run `cxrflow train` again."
    try:
        return [Epoch.of(row) for row in csv.DictReader(read_text(path, advice=advice).splitlines())]
    except (ValueError, KeyError, TypeError, csv.Error) as err:
        raise damaged(path, f"{type(err).__name__}: {err}", advice=advice) from err
