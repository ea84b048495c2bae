"""K classes in training and metrics: the same figures as scikit-learn's, and nothing of one logit left in them.

The kinds of fault: a figure that is right for equal classes only, one that a class of another number breaks, a weight
of an image that counts once too often, a sum over classes that should be a mean, and probabilities that saturate.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch.nn import functional

from contract.decision import choice, log_odds, softmax, with_points
from contract.drawing import ENDINGS
from contract.errors import ConfigError, DataError
from datasets.xray import Split, XrayData, make_report
from qnn import class_metrics as module
from qnn.calibration import Scaling, answers_at, class_operating_points, fit_scaling, margins
from qnn.checkpoint import load_checkpoint
from qnn.class_metrics import (
    class_intervals,
    class_metrics,
    class_reliability,
    macro_auc,
    scores_of,
    weighted_figures,
)
from qnn.drawn import draw_training
from qnn.evaluation import evaluate_split
from qnn.network import PixelMLP, predict_logits
from qnn.records import GREATEST, MeasuredClasses, Metrics, read_history
from qnn.results import finish
from qnn.spec import Augmentation, Distillation, NetworkSpec, TrainConfig, ValidationAugmentation
from qnn.teacher import Source, soft_loss, split_fingerprint
from qnn.training import hard_loss, train
from tests.randomness import generator

NAMES = ("A", "B", "C", "D")
K = len(NAMES)
RNG = generator(11)
N = 150
LABELS = np.minimum(RNG.integers(0, K + 3, N), K - 1)  # most are of the last class
LOGITS = np.round(RNG.normal(0, 1.5, (N, K)) + 1.5 * np.eye(K)[LABELS], 1)  # with ties
PATIENTS = RNG.integers(0, 50, N)


def test_weighted_figures_equal_sklearn_on_repeated_images() -> None:
    weights = np.random.default_rng(0).integers(0, 4, (12, N))
    answers = LOGITS.argmax(axis=1)
    found = weighted_figures(weights.astype(float), scores_of(LOGITS), LABELS, answers)
    for i, row in enumerate(weights):
        labels, called, logits = np.repeat(LABELS, row), np.repeat(answers, row), np.repeat(LOGITS, row, axis=0)
        p = softmax(logits)
        want = {
            "accuracy": sk.accuracy_score(labels, called),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
            "auc": sk.roc_auc_score(labels, p, multi_class="ovr", average="macro"),
            "kappa": sk.cohen_kappa_score(labels, called),
            "brier": ((p - np.eye(K)[labels]) ** 2).sum() / len(labels),
            "ece": class_reliability(logits, labels).ece,
        }
        for name, value in want.items():
            assert found[name][i] == pytest.approx(value), name
        np.testing.assert_allclose(found["sensitivity_each"][i], sk.recall_score(labels, called, average=None))
        np.testing.assert_allclose(found["precision_each"][i], sk.precision_score(labels, called, average=None))
        for k in range(K):
            rest = sk.recall_score(labels != k, called != k)
            assert found["specificity_each"][i, k] == pytest.approx(rest)
            assert found["auc_each"][i, k] == pytest.approx(sk.roc_auc_score(labels == k, p[:, k]))


def test_plain_figures_and_intervals_hold_each_other() -> None:
    found = class_metrics(LOGITS, LABELS, NAMES)
    np.testing.assert_array_equal(found["confusion"], sk.confusion_matrix(LABELS, LOGITS.argmax(axis=1)))
    assert [one["n"] for one in found["classes"]] == np.bincount(LABELS).tolist()
    of_all, each = class_intervals(LOGITS, LABELS, PATIENTS)
    assert set(of_all) == set(module.OF_ALL) and all(set(ends) == set(module.OF_EACH) for ends in each)
    for name in ("accuracy", "balanced_accuracy", "auc", "kappa", "brier"):
        assert of_all[name][0] < found[name] < of_all[name][1]
    for one, ends in zip(found["classes"], each, strict=True):
        assert all(ends[name][0] <= one[name] <= ends[name][1] for name in module.OF_EACH)
    split = Split(np.zeros((N, 8, 8), np.uint8), LABELS, PATIENTS, tuple(map(str, range(N))))
    record = MeasuredClasses.model_validate_json(json.dumps(evaluate_split(LOGITS, split, {}, rule="", names=NAMES)))
    assert record.value("auc") == found["auc"] and record.value("f1") is None
    assert record.classes[2].intervals["auc"] == pytest.approx(each[2]["auc"])


def test_an_absent_class_is_none_and_not_a_number() -> None:
    here = LABELS != 1
    found = class_metrics(LOGITS[here], LABELS[here], NAMES)
    assert (found["auc"], found["balanced_accuracy"]) == (None, None) and found["accuracy"] is not None
    assert (found["classes"][1]["sensitivity"], found["classes"][1]["auc"]) == (None, None)
    assert found["classes"][0]["auc"] is not None
    with pytest.raises(DataError, match="no image is of class 1"):
        macro_auc(LOGITS[here], LABELS[here])
    with pytest.raises(DataError, match="found the label 4, expected 0 to 3"):
        class_metrics(LOGITS, LABELS + 1, NAMES)
    with pytest.raises(DataError, match="not finite"):
        macro_auc(np.full_like(LOGITS, np.inf), LABELS)


def test_order_is_kept_where_probabilities_are_all_1() -> None:
    far = LOGITS * 100
    assert len(np.unique(softmax(far)[:, 0])) < len(np.unique(log_odds(far)[:, 0]))
    assert macro_auc(far, LABELS) > 0.5
    p = softmax(LOGITS)
    np.testing.assert_allclose(log_odds(LOGITS), np.log(p / (1 - p)), rtol=1e-9)


def test_calibration_finds_the_scale_and_the_biases_that_were_taken_off() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(0, 2, (30_000, K))
    labels = (true + rng.gumbel(size=true.shape)).argmax(axis=1)  # drawn from softmax(true)
    bias = np.array([0.5, -0.5, 1.0, -1.0])
    fit = fit_scaling((true - bias) / 3, labels)
    assert fit.slope == pytest.approx(3, abs=0.1)
    np.testing.assert_allclose(fit.intercept, bias, atol=0.08)
    rare = np.concatenate(
        [np.flatnonzero(labels != 2), np.flatnonzero(labels == 2)[::10]]
    )  # all classes weigh the same
    np.testing.assert_allclose(fit_scaling((true[rare] - bias) / 3, labels[rare]).intercept, bias, atol=0.15)
    assert fit_scaling(-true, labels) == Scaling(1.0, (0.0,) * K)


@pytest.mark.parametrize("label", range(K))
def test_operating_points_for_one_class_are_those_of_its_margin(label: int) -> None:
    """What is measured in floats is what the integers answer, and 95 % means at least 95 %, by the highest margin."""
    points = class_operating_points(LOGITS, LABELS, label)
    assert set(points) == {"youden", "sensitivity_95"}
    scales, outputs = [0.1] * K, np.round(LOGITS * 10).astype(np.int64)
    exact = with_points(choice(scales, [0.0] * K, rule=""), label, points)
    mine = np.isin(LABELS, label)
    for name, margin in points.items():
        called = answers_at(LOGITS, label, margin)
        clear = np.abs(margins(LOGITS, label) - margin) > 1e-6
        np.testing.assert_array_equal(exact.classes(outputs, name)[clear], called[clear])
        assert not (called[~(margins(LOGITS, label) > margin)] == label).any()
    found = (answers_at(LOGITS, label, points["sensitivity_95"]) == label)[mine].mean()
    higher = np.sort(margins(LOGITS, label)[mine & (margins(LOGITS, label) > points["sensitivity_95"])])[0]
    assert found >= 0.95 > (answers_at(LOGITS, label, higher) == label)[mine].mean()
    np.testing.assert_array_equal(answers_at(LOGITS - np.arange(K) * 1e-9, label, 0.0), LOGITS.argmax(axis=1))


def test_losses_are_their_definitions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(6, K, generator=generator), torch.randn(6, K, generator=generator)
    labels, weights = torch.arange(6) % K, torch.rand(6, generator=generator)
    log_p = torch.log_softmax(logits, dim=1)
    want = -(weights * log_p[torch.arange(6), labels]).sum() / 6
    torch.testing.assert_close(hard_loss(logits, labels, weights), want)
    soft = -(torch.softmax(teacher / 2, 1) * torch.log_softmax(logits / 2, 1)).sum(1)
    torch.testing.assert_close(soft_loss(logits, teacher, weights, temperature=2.0), 4 * (weights * soft).sum() / 6)
    one = functional.binary_cross_entropy_with_logits(logits[:, 0], (labels % 2).float(), weight=weights)
    assert torch.equal(hard_loss(logits[:, 0], labels % 2, weights), one)


MILD = Augmentation(shift=0.05, brightness=10)
CONFIG = TrainConfig(
    epochs=6, batch_size=32, lr=0.02, augment=MILD, validation_augment=ValidationAugmentation(**MILD.model_dump())
)
SPEC = NetworkSpec(height=8, width=8, hidden=(12,), weight_bits=4, act_bits=4, outputs=3)


def make_split(n: int, seed: int) -> Split:
    """Each class is brighter in another third of the rows; a sixth of the images are of class 2."""
    rng = np.random.default_rng(seed)
    labels = np.array([0, 0, 0, 1, 1, 2])[np.arange(n) % 6]
    pixels = rng.integers(60, 120, (n, 8, 8))
    for label, rows in enumerate((slice(0, 3), slice(3, 5), slice(5, 8))):
        pixels[labels == label, rows] += 100
    return Split(pixels.astype(np.uint8), labels, np.arange(n) + 1000 * seed, tuple(f"p{i}.png" for i in range(n)))


def make_data() -> XrayData:
    parts = make_split(240, 1), make_split(60, 2), make_split(60, 3)
    return XrayData(*parts, "f" * 64, "bands", make_report(*parts, class_names=NAMES[:3]), NAMES[:3])


DATA = make_data()


def test_three_classes_are_learned_measured_and_drawn(tmp_path: Path) -> None:
    result = train(DATA, SPEC, CONFIG, workdir=tmp_path / "work", progress=False)
    assert result.best["monitor"] > 0.99 and result.operating_points == {}
    assert isinstance(result.calibration, Scaling)
    found = finish(result, DATA, SPEC, CONFIG, tmp_path / "train", made_from={})
    metrics = Metrics.model_validate_json((tmp_path / "train" / "metrics.json").read_text())
    assert isinstance(metrics.test, MeasuredClasses) and metrics.test.accuracy == 1
    assert metrics.class_names == NAMES[:3] and metrics.network == "64-12-3 W4A4"
    assert metrics.operating_point_rule == GREATEST and metrics.counts["test"]["C"] == 10
    net = load_checkpoint(tmp_path / "train" / "checkpoint.pt", expected=SPEC).net
    logits = predict_logits(net, DATA.test.pixels)
    assert logits.shape == (60, 3) and np.array_equal(logits.argmax(axis=1), DATA.test.labels)
    assert predict_logits(net, DATA.test.pixels[:0]).shape == (0, 3)
    history = read_history(tmp_path / "train" / "history.csv")
    draw_training(net, DATA, CONFIG, found, history, tmp_path / "figures")
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    names = ("history", "roc", "reliability", "confusion", "mistakes")
    assert drawn == {f"{name}{ending}" for name in names for ending in ENDINGS}

    source = Source(net, split_fingerprint(DATA), "teacher", "0" * 64, DATA.class_names)
    config = CONFIG.model_copy(update={"epochs": 2, "distill": Distillation(teacher=Path("t")), "init_from": Path("t")})
    binary = NetworkSpec(height=8, width=8, hidden=(12,), weight_bits=1, act_bits=1, outputs=3)
    warm = train(DATA, binary, config, workdir=tmp_path / "w", teacher=source, initial=source, progress=False)
    assert warm.best["monitor"] > 0.9
    two = Source(
        PixelMLP(NetworkSpec(height=8, width=8, hidden=(12,))).eval(),
        split_fingerprint(DATA),
        "two",
        "0" * 64,
        ("A", "B"),
    )
    with pytest.raises(ConfigError, match="two, which tells 2 classes apart, but this network 3"):
        train(DATA, binary, config, workdir=tmp_path / "w", teacher=source, initial=two, progress=False)
    turned = replace(source, class_names=DATA.class_names[::-1], split="other")
    with pytest.raises(ConfigError, match=r"teacher, whose classes are C, B, A, but .* are A, B, C: in another order"):
        train(DATA, binary, config, workdir=tmp_path / "w", teacher=turned, initial=source, progress=False)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    for spec, config, message in (
        (
            SPEC.model_copy(update={"outputs": 1}),
            CONFIG,
            "the data set has 3 classes, A, B, C, but the network tells 2",
        ),
        (SPEC.model_copy(update={"outputs": 4}), CONFIG, "but the network tells 4 apart"),
        (SPEC, CONFIG.model_copy(update={"operating_point": "youden"}), "'train.operating_point' is youden"),
        (
            SPEC,
            CONFIG.model_copy(update={"one_class": "D"}),
            "'train.one_class' is 'D', expected one of .* here are A, B",
        ),
    ):
        with pytest.raises((DataError, ConfigError), match=message):
            train(DATA, spec, config, workdir=tmp_path, progress=False)
    with pytest.raises(ValueError, match="outputs is 2, but one logit tells two classes apart"):
        NetworkSpec(outputs=2)
    assert "one_class" not in TrainConfig().model_dump(mode="json")
    assert TrainConfig.model_validate(TrainConfig(one_class="A").model_dump(mode="json")).one_class == "A"
    assert "outputs" not in NetworkSpec().model_dump() and NetworkSpec(outputs=3).model_dump()["outputs"] == 3
    assert json.loads(NetworkSpec(outputs=3).model_dump_json())["outputs"] == 3
