"""The phantoms must be reproducible, and worth a network."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from contract.errors import ConfigError
from datasets.phantom import make_phantoms, planted
from datasets.xray import Split, XrayData


def small(seed: int = 0, height: int = 28, width: int = 28) -> XrayData:
    return make_phantoms(
        height=height, width=width, n_train_patients=60, n_test_patients=20, val_fraction=0.1, seed=seed
    )


def test_the_same_seed_gives_the_same_bytes() -> None:
    a, b, other = small(), small(), small(seed=1)
    for x, y in ((a.train, b.train), (a.val, b.val), (a.test, b.test)):
        np.testing.assert_array_equal(x.pixels, y.pixels)
        np.testing.assert_array_equal(x.patients, y.patients)
        assert x.names == y.names
    assert a.fingerprint == b.fingerprint != other.fingerprint


def test_patients_have_one_class_and_one_side() -> None:
    data = small()
    every = [data.train, data.val, data.test]
    patients = [set(split.patients.tolist()) for split in every]
    assert len(set.union(*patients)) == sum(len(group) for group in patients) == 80
    for split in every:
        assert set(split.labels.tolist()) == {0, 1}
        for patient in np.unique(split.patients):
            assert len(np.unique(split.labels[split.patients == patient])) == 1
    assert data.report.patients_in_train_and_test == data.report.train_val_patient_overlap == 0


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 20), (64, 64), (112, 96)])
def test_any_size(height: int, width: int) -> None:
    pixels = small(height=height, width=width).test.pixels
    assert pixels.shape[1:] == (height, width)
    assert pixels.std(axis=(1, 2)).min() > 10  # no image is blank
    assert len({image.tobytes() for image in pixels}) == len(pixels)


def test_too_few_patients() -> None:
    with pytest.raises(ConfigError, match="n_test_patients is 1, but both classes need a patient"):
        make_phantoms(height=8, width=8, n_test_patients=1, val_fraction=0.1, seed=0)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_network_beats_a_linear_model_and_brightness_tells_nothing() -> None:
    data = make_phantoms(height=28, width=28, val_fraction=0.1, seed=0)

    def flat(split: Split) -> np.ndarray:
        return split.pixels.reshape(len(split), -1).astype(np.float32) / 255 - 0.5

    x, y, x_test, y_test = flat(data.train), data.train.labels, flat(data.test), data.test.labels
    assert 0.6 < y.mean() < 0.73 and 0.6 < y_test.mean() < 0.73
    with threadpool_limits(1):  # such small matrices only lose time to threads
        linear = LogisticRegression(max_iter=300).fit(x, y)
        network = MLPClassifier((64, 64), random_state=0, max_iter=50, tol=0, n_iter_no_change=50).fit(x, y)
    auc_bright = roc_auc_score(y_test, x_test.mean(axis=1))
    auc_linear = roc_auc_score(y_test, linear.decision_function(x_test))
    auc_network = roc_auc_score(y_test, network.predict_proba(x_test)[:, 1])
    assert 0.4 < auc_bright < 0.6
    assert 0.7 < auc_linear < 0.87
    assert auc_network > 0.93


def test_where_opacities_were_planted() -> None:
    data = small()
    brighter = planted(height=28, width=28, n_train_patients=60, n_test_patients=20, seed=0)
    ill = data.test.labels == 1
    assert not brighter[~ill].any() and (brighter[ill].max(axis=(1, 2)) > 0.01).all() and brighter.min() > -1e-6
    place = brighter[ill] > 0.5 * brighter[ill].max(axis=(1, 2), keepdims=True)
    there, opposite = (
        (data.test.pixels[ill] * mask).sum(axis=(1, 2)) / mask.sum(axis=(1, 2)) for mask in (place, place[:, :, ::-1])
    )
    assert (there > opposite).mean() > 0.8  # the drawn images are brighter there than on the other side
