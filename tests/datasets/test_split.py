"""No patient on both sides, and both classes in proportion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import ConfigError, DataError
from datasets.split import validation_mask


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(12, 40), st.sampled_from([0.1, 0.2, 0.25, 0.5]))
def test_no_patient_is_on_both_sides(seed: int, n_patients: int, val_fraction: float) -> None:
    rng = np.random.default_rng(seed)
    patients = np.repeat(rng.permutation(2 * n_patients), rng.integers(1, 4, 2 * n_patients))
    labels = (patients % 2).astype(np.int64)
    mask = validation_mask(labels, patients, val_fraction=val_fraction, seed=seed % 1000)
    assert not set(patients[mask]) & set(patients[~mask])
    assert abs(mask.mean() - val_fraction) < 0.15 and {0, 1} == set(labels[mask]) == set(labels[~mask])


def test_classes_keep_their_proportion_and_the_seed_matters() -> None:
    patients = np.repeat(np.arange(300), 3)
    labels = (patients % 3 > 0).astype(np.int64)
    masks = [validation_mask(labels, patients, val_fraction=0.1, seed=seed) for seed in (0, 1)]
    for mask in masks:
        assert mask.sum() == pytest.approx(90, abs=6) and labels[mask].mean() == pytest.approx(2 / 3, abs=0.03)
    assert (masks[0] != masks[1]).any()


def test_too_few_patients_of_a_class() -> None:
    labels = np.repeat([0, 1], 40)
    patients = np.concatenate([np.repeat(np.arange(4), 10), np.arange(10, 50)])
    with pytest.raises(DataError, match=r"class NORMAL come from 4 patients, but val_fraction 0\.1 needs at least 10"):
        validation_mask(labels, patients, val_fraction=0.1, seed=0)


@pytest.mark.parametrize("val_fraction", [0.0, -0.1, 0.6, float("nan")])
def test_impossible_fraction(val_fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"above 0 and at most 0\.5"):
        validation_mask(np.array([0, 1]), np.array([0, 1]), val_fraction=val_fraction, seed=0)
