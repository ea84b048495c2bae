import numpy as np
import pytest
from sklearn import metrics as sk

from qnn import bootstrap
from qnn.bootstrap import patient_intervals
from qnn.calibration import reliability
from tests.randomness import generator

RNG = generator(5)
N = 120
PATIENTS = RNG.integers(0, 40, N)
LABELS = (PATIENTS % 3 == 0).astype(np.int64)
LOGITS = np.round(RNG.normal(LABELS * 1.5 - 0.5, 1.5), 1)  # with ties
KINDS = np.where(LABELS == 1, np.where(PATIENTS % 2 == 0, "bacteria", "virus"), "")


def test_weighted_metrics_equal_sklearn_on_repeated_images() -> None:
    """An image of weight 3 is an image that is there three times."""
    weights = np.random.default_rng(0).integers(0, 4, (20, N))
    found = bootstrap._weighted_metrics(weights.astype(float), LOGITS, LABELS, 0.3, KINDS)
    for i, row in enumerate(weights):
        labels, logits, kinds = np.repeat(LABELS, row), np.repeat(LOGITS, row), np.repeat(KINDS, row)
        called = logits > 0.3
        assert found["auc"][i] == pytest.approx(sk.roc_auc_score(labels, logits))
        assert found["accuracy"][i] == pytest.approx(sk.accuracy_score(labels, called))
        assert found["balanced_accuracy"][i] == pytest.approx(sk.balanced_accuracy_score(labels, called))
        assert found["ece"][i] == pytest.approx(reliability(logits, labels).ece)
        assert found["f1"][i] == pytest.approx(sk.f1_score(labels, called))
        assert found["sensitivity_virus"][i] == pytest.approx(called[kinds == "virus"].mean())


def test_intervals_are_the_same_on_every_call_and_hold_the_figure() -> None:
    intervals = patient_intervals(LOGITS, LABELS, PATIENTS, threshold=0.3, kinds=KINDS)
    assert intervals == patient_intervals(LOGITS, LABELS, PATIENTS + 1000, threshold=0.3, kinds=KINDS)
    low, high = intervals["auc"]
    assert low < sk.roc_auc_score(LABELS, LOGITS) < high
    assert {"sensitivity_bacteria", "sensitivity_virus"} < set(intervals)


def test_patients_are_drawn_and_not_images() -> None:
    """25 copies of every image carry no more information: the interval must not shrink."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 100)
    logits = rng.normal(labels, 1.0)
    once = patient_intervals(logits, labels, np.arange(100), threshold=0.5)["accuracy"]
    many_logits, many_labels, images = np.repeat(logits, 25), np.repeat(labels, 25), np.repeat(np.arange(100), 25)
    assert patient_intervals(many_logits, many_labels, images, threshold=0.5)["accuracy"] == once
    low, high = patient_intervals(many_logits, many_labels, np.arange(2500), threshold=0.5)["accuracy"]
    assert high - low < (once[1] - once[0]) / 3
    # The interval is the binomial one, where every patient has one image.
    p = ((logits > 0.5) == labels).mean()
    assert once[1] - once[0] == pytest.approx(2 * 1.96 * np.sqrt(p * (1 - p) / 100), rel=0.1)


def test_an_absent_class_leaves_its_metrics_out() -> None:
    only = patient_intervals(np.array([1.0, -1.0, 2.0]), np.array([1, 1, 1]), np.arange(3), threshold=0.0)
    assert set(only) == {"accuracy", "sensitivity", "f1", "ece"}
