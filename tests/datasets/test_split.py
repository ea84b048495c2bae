"""No patient on both sides, and both classes in proportion."""

import hashlib

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


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 12), st.sampled_from([0.1, 0.125, 0.2, 0.3, 0.5]))
def test_one_image_per_patient_gives_every_class_its_share(seed: int, classes: int, val_fraction: float) -> None:
    rng, folds = np.random.default_rng(seed), round(1 / val_fraction)
    labels = rng.permutation(np.repeat(np.arange(classes), rng.integers(folds, 3 * folds, classes)))
    names = [f"c{label}" for label in range(classes)]
    mask = validation_mask(labels, rng.permutation(len(labels)), val_fraction=val_fraction, seed=1, class_names=names)
    assert np.all(np.abs(folds * np.bincount(labels[mask], minlength=classes) - np.bincount(labels)) * 2 <= folds)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 5))
def test_patients_of_any_size_are_divided_whole_and_no_class_lacks(seed: int, classes: int) -> None:
    """The kind: one patient has most images of a class, so that it is refused though the others can be divided."""
    rng = np.random.default_rng(seed)
    class_of = rng.permutation(np.repeat(np.arange(classes), rng.integers(5, 9, classes)))
    patients = np.repeat(np.arange(len(class_of)), rng.choice([1, 2, 60], len(class_of), p=[0.5, 0.3, 0.2]))
    labels, names = class_of[patients], list("abcde")[:classes]
    mask = validation_mask(labels, patients, val_fraction=0.2, seed=1, class_names=names)
    assert not set(patients[mask]) & set(patients[~mask])
    assert set(labels[mask]) == set(labels[~mask]) == set(range(classes))


def test_a_split_that_is_near_enough_is_that_of_every_version() -> None:
    """Published figures rest on such splits: some classes are off by more than a patient, none by an eighth."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(240), rng.integers(1, 5, 240))
    labels = patients % 3
    mask = validation_mask(labels, patients, val_fraction=0.125, seed=9, class_names=("a", "b", "c"))
    assert (8 * np.bincount(labels[mask]) - np.bincount(labels)).tolist() == [-6, 25, -22]  # [1/8 image]
    assert hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()[:16] == "8ca696cdc6416fee"


def test_too_few_patients_of_a_class() -> None:
    labels = np.repeat([0, 1], 40)
    patients = np.concatenate([np.repeat(np.arange(4), 10), np.arange(10, 50)])
    with pytest.raises(DataError, match=r"class NORMAL come from 4 patients, but val_fraction 0\.1 needs at least 10"):
        validation_mask(labels, patients, val_fraction=0.1, seed=0)


@pytest.mark.parametrize("val_fraction", [0.0, -0.1, 0.6, float("nan")])
def test_impossible_fraction(val_fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"above 0 and at most 0\.5"):
        validation_mask(np.array([0, 1]), np.array([0, 1]), val_fraction=val_fraction, seed=0)
