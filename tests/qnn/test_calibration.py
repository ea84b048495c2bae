import copy

import numpy as np
import pytest
import torch

from contract.errors import DataError
from qnn.calibration import Platt, calibrate, fit_platt, operating_points, reliability
from qnn.network import PixelMLP, predict_logits
from qnn.spec import NetworkSpec

SPEC = NetworkSpec(height=8, width=8, hidden=(8,), weight_bits=4, act_bits=4)


def draw(n: int, *, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right at equal class sizes: two normals of variance 4 at -2 and +2 have a log ratio of x."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < share).astype(np.int64)
    return rng.normal(np.where(labels == 1, 2.0, -2.0), 2.0), labels


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_platt_finds_a_known_distortion_whatever_the_share_of_pneumonia(share: float) -> None:
    logits, labels = draw(40_000, share=share)
    platt = fit_platt(3 * logits + 5, labels)  # too sure of itself, and shifted
    assert platt.slope == pytest.approx(1 / 3, abs=0.02) and platt.intercept == pytest.approx(-5 / 3, abs=0.1)
    repaired = platt.slope * (3 * logits + 5) + platt.intercept
    assert reliability(repaired, labels).ece < 0.02 < 0.1 < reliability(3 * logits + 5, labels).ece


def test_separated_classes_stay_finite_and_reversed_ones_are_left_alone() -> None:
    logits, labels = np.array([-1.0, -0.5, 0.5, 1.0]), np.array([0, 0, 1, 1])
    assert 0 < fit_platt(logits, labels).slope < 100
    assert fit_platt(-logits, labels) == Platt(1, 0)


def test_calibration_becomes_the_networks_own_logit() -> None:
    torch.manual_seed(0)
    net = PixelMLP(SPEC).eval()
    torch.nn.init.constant_(net.head.norm.bias, 0.75)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 8), dtype=np.uint8)
    before, changed = predict_logits(net, pixels), copy.deepcopy(net)
    calibrate(changed, Platt(0.5, -1.25))
    np.testing.assert_allclose(predict_logits(changed, pixels), 0.5 * before - 1.25, rtol=1e-4, atol=1e-5)
    for name, tensor in net.state_dict().items():  # nothing that becomes an integer of the hardware
        assert name.startswith("head.norm.") or torch.equal(tensor, changed.state_dict()[name])


def test_reliability_by_hand() -> None:
    """Two bins: p = 0.25 with 1 of 4 normals and no pneumonia, p = 0.75 with the rest; classes weigh the same."""
    odds = np.log(3.0)
    logits, labels = np.array([-odds, odds, odds, odds, odds, odds]), np.array([0, 0, 0, 0, 1, 1])
    found = reliability(logits, labels)
    np.testing.assert_allclose(found.predicted, [0.25, 0.75])
    np.testing.assert_allclose(found.weight, [1 / 8, 7 / 8])
    np.testing.assert_allclose(found.observed, [0, 4 / 7])
    assert found.ece == pytest.approx(1 / 8 * 0.25 + 7 / 8 * (0.75 - 4 / 7))
    assert reliability(logits, np.zeros(6, dtype=np.int64)).weight.sum() == pytest.approx(1)  # one class only


def test_sensitivity_95_is_the_highest_threshold_that_reaches_it() -> None:
    rng = np.random.default_rng(1)
    for n in (1, 19, 20, 21, 400):
        positives = rng.integers(-20, 20, n) / 4  # with ties
        logits, labels = np.append(positives, [-9.0, 9.0]), np.append(np.ones(n), [0, 0]).astype(np.int64)
        threshold = operating_points(logits, labels)["sensitivity_95"]
        assert (positives > threshold).mean() >= 0.95
        higher = [t for t in np.unique(positives) if t > threshold]
        assert all((positives > t).mean() < 0.95 for t in higher)
    with pytest.raises(DataError, match="no image shows pneumonia"):
        operating_points(np.array([1.0, 2.0]), np.array([0, 0]))
