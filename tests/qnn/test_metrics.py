import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from contract.errors import DataError
from qnn.metrics import auc, choose_operating_point, classification_metrics

# 2 TN, 1 FP, 1 FN, 3 TP at threshold 0.5
LOGITS = np.array([-40.0, 0.5, 3.0, -1.0, 30.0, 40.0, 50.0])
LABELS = np.array([0, 0, 0, 1, 1, 1, 1])

SAMPLES = st.lists(
    st.tuples(st.integers(-8, 8).map(lambda v: v * 7.5), st.integers(0, 1)), min_size=2, max_size=40
).filter(lambda pairs: {label for _, label in pairs} == {0, 1})


def test_by_hand() -> None:
    found = classification_metrics(LOGITS, LABELS, threshold=0.5)
    assert found == {
        "n": 7,
        "tn": 2,
        "fp": 1,
        "fn": 1,
        "tp": 3,
        "threshold": 0.5,
        "accuracy": pytest.approx(5 / 7),
        "auc": pytest.approx(10 / 12),  # of 12 pairs the positive at -1 loses two
        "sensitivity": pytest.approx(3 / 4),
        "specificity": pytest.approx(2 / 3),
        "balanced_accuracy": pytest.approx(17 / 24),
        "f1": pytest.approx(6 / 8),
    }
    assert all(type(value) in (int, float) for value in found.values())


@given(SAMPLES)
def test_equals_sklearn(pairs: list[tuple[float, int]]) -> None:
    logits, labels = (np.array(column) for column in zip(*pairs, strict=True))
    # Far from 0 a float32 sigmoid would tie: 22.5 and 60 both become 1.
    assert auc(logits, labels) == pytest.approx(sk.roc_auc_score(labels, logits), abs=1e-6)
    found = classification_metrics(logits, labels, threshold=0.0)
    predicted = logits > 0
    assert found["f1"] == pytest.approx(sk.f1_score(labels, predicted, zero_division=0), abs=1e-6)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted), abs=1e-6)


def test_an_absent_class_gives_none_and_never_a_made_up_number() -> None:
    only_negatives = classification_metrics(np.array([-1.0, 2.0]), np.array([0, 0]), threshold=0)
    assert [only_negatives[k] for k in ("specificity", "sensitivity", "f1", "auc")] == [0.5, None, None, None]
    only_positives = classification_metrics(np.array([-1.0, -2.0]), np.array([1, 1]), threshold=0)
    assert [only_positives[k] for k in ("specificity", "sensitivity", "f1", "auc")] == [None, 0, 0, None]


@given(SAMPLES)
def test_operating_point_has_the_largest_youden_j_of_all_thresholds(pairs: list[tuple[float, int]]) -> None:
    logits, labels = (np.array(column) for column in zip(*pairs, strict=True))
    levels = np.unique(logits)
    if len(levels) < 2:
        return
    threshold = choose_operating_point(logits, labels)
    j = {t: (logits[labels == 1] > t).mean() - (logits[labels == 0] > t).mean() for t in (levels[:-1] + levels[1:]) / 2}
    assert j[threshold] == pytest.approx(max(j.values()))
    assert abs(threshold) == min(abs(t) for t, value in j.items() if value > max(j.values()) - 1e-9)


def test_refusals() -> None:
    with pytest.raises(DataError, match=r"all 2 images are of class 1.*Check the data split"):
        auc(np.array([1.0, 2.0]), np.array([1, 1]))
    with pytest.raises(DataError, match=r"all 2 logits are 3, so no threshold"):
        choose_operating_point(np.array([3.0, 3.0]), np.array([0, 1]))
    with pytest.raises(DataError, match=r"1 of 2 logits are not finite"):
        auc(np.array([np.nan, 2.0]), np.array([0, 1]))
    with pytest.raises(DataError, match=r"found the labels \[0, 2\]"):
        auc(np.array([1.0, 2.0]), np.array([0, 2]))
