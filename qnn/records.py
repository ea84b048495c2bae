"""The records of this folder: what a training and an evaluation leave, as everybody else reads it. No PyTorch."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from contract.files import damaged, read_text
from contract.record import Count, Number, Record, Share, Text, Versions

FOOTER = "Research use only, not a medical device"  # below every figure, and in every file of metrics
# How the class of K is chosen.
GREATEST = (
    "the greatest logit at equal class sizes, after one temperature and a bias for each class, fitted on clean and "
    "augmented validation images"
)
Few: Any = Field(max_length=20, default_factory=dict)


class Figures(Record):
    """Metrics by their names."""

    def value(self, name: str) -> float | None:
        """Return a metric; None where it is undefined here, or is not one of this record's."""
        found = getattr(self, name, None)
        return None if found is None else float(found)


class Point(Figures):
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


OF_EACH = ("sensitivity", "specificity", "precision", "auc")  # figures of one class against the rest


class ClassMeasured(Record):
    """One class against the rest. None: there is nothing to divide by."""

    name: Text
    n: Count
    sensitivity: Share | None = None
    specificity: Share | None = None
    precision: Share | None = None
    auc: Share | None = None
    intervals: Annotated[dict[Text, tuple[Share, Share]], Few]  # 95 % over patients


class ClassPoint(Record):
    """The classifier of K classes at an operating point for one of them."""

    margin: Number
    accuracy: Share
    balanced_accuracy: Share | None = None
    sensitivity: Share | None = None  # of that class
    specificity: Share | None = None
    precision: Share | None = None


class MeasuredClasses(Figures):
    """Metrics of one set of images of K classes. None: a class is absent."""

    n: Count
    confusion: Annotated[list[list[Count]], Field(min_length=2, max_length=1000)]  # K x K: by label, then by answer
    accuracy: Share
    balanced_accuracy: Share | None = None
    auc: Share | None = None  # macro: the mean over classes of one against the rest
    kappa: Number | None = None  # Cohen's
    brier: Number  # mean over images of the squares summed over classes, 0..2
    ece: Share  # of the answer's probability, at equal class sizes
    classes: Annotated[list[ClassMeasured], Field(min_length=2, max_length=1000)]
    intervals: Annotated[dict[Text, tuple[Number, Number]], Few]  # 95 % over patients
    operating_points: Annotated[dict[Text, ClassPoint], Few]  # for `one_class` of the training

    @model_validator(mode="after")
    def _is_square(self) -> Self:
        if {len(self.classes)} != {len(self.confusion), *map(len, self.confusion)}:
            raise ValueError(
                f"the confusion matrix is not {len(self.classes)} x {len(self.classes)}, as the classes are"
            )
        return self


class Calibration(Record):
    """Platt scaling; of K classes, one temperature and a bias for each."""

    slope: Number
    intercept: Number | Annotated[list[Number], Field(max_length=1000)]
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
    class_names: Annotated[tuple[Text, ...], Field(min_length=2, max_length=1000)] = ("NORMAL", "PNEUMONIA")
    operating_point_rule: Text
    operating_points: Annotated[dict[Text, Number], Few]  # empty: `one_class` is None, or an earlier version chose none
    one_class: Text | None = None  # of K classes: the one that the operating points are for, against the rest
    calibration: Calibration | None = None
    validation: Measured | MeasuredClasses
    test: Measured | MeasuredClasses | None = None  # None: nobody has looked at the test images
    best: Best | None = None
    best_epoch: Count
    epochs_trained: Count
    seconds: Number
    counts: Annotated[dict[Text, dict[Text, Count]], Field(min_length=1, max_length=5)]
    made_from: MadeFrom = MadeFrom()
    versions: Versions

    @model_validator(mode="after")
    def _names_every_class(self) -> Self:
        for measured in (self.validation, self.test):
            classes = len(measured.classes) if isinstance(measured, MeasuredClasses) else 2
            if measured is not None and classes != len(self.class_names):
                raise ValueError(f"{classes} classes were measured, but {len(self.class_names)} have a name")
        if self.one_class is not None and self.one_class not in self.class_names:
            raise ValueError("the class that has operating points is none of the classes")
        return self


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


class ClassEvaluation(MeasuredClasses):
    """evaluation.json of K classes."""

    command = "evaluate"
    source: Text
    seen: SeenImages | None = None
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
