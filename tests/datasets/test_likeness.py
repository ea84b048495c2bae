"""What is called unlike the training images: the measures against their definition, the limits, and what is caught."""

from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.errors import ArtifactError
from contract.likeness import SCALE_BITS, WEIGHT_BITS, Likeness, load_likeness
from contract.npz import load_npz, save_npz
from datasets.likeness import fit_likeness
from datasets.phantom import make_phantoms


def defined(likeness: Likeness, image: NDArray[np.uint8]) -> tuple[int, int]:
    """The measures of one image, by hand."""
    d = [int(a) - int(b) for a, b in zip(image.ravel(), likeness.mean.ravel(), strict=True)]
    rows = likeness.components.reshape(len(likeness.components), likeness.mean.size).tolist()
    p = [Fraction(sum(c * v for c, v in zip(row, d, strict=True)), 2**SCALE_BITS) for row in rows]
    along = sum(Fraction(w, 2**WEIGHT_BITS) * v * v for w, v in zip(likeness.weights.tolist(), p, strict=True))
    return floor(along), floor(sum(v * v for v in d) - sum(v * v for v in p))


@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(1, 9), st.integers(1, 9))
def test_the_measures_are_their_definition(seed: int, count: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    likeness = Likeness(
        rng.integers(0, 256, (height, width), dtype=np.uint8),
        rng.integers(-(2**9), 2**9, (count, height, width), dtype=np.int16),
        rng.integers(0, 2**WEIGHT_BITS + 1, count, dtype=np.int64),
        np.array([7, 3, 11], dtype=np.int64),
    )
    images = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    images[0] = 255 * (likeness.mean < 128)
    want = [defined(likeness, image) for image in images]
    assert likeness.measures(images) == want
    for times, (along, beyond) in zip(likeness.unlikeness(images).tolist(), want, strict=True):
        assert (times > 1) == (along > 7 or beyond > 11 or beyond < 3)


@pytest.mark.parametrize("shape", [(28, 28), (6, 7), (90, 60)], ids=str)
def test_validation_images_pass_and_others_do_not(shape: tuple[int, int]) -> None:
    """90 x 60 pixels are more than there are images."""
    data = make_phantoms(height=shape[0], width=shape[1], n_train_patients=240, val_fraction=0.3, seed=3)
    likeness = fit_likeness(data.train.pixels, data.val.pixels)
    assert likeness is not None
    assert (likeness.unlikeness(data.val.pixels) <= 1).mean() >= 0.99
    test, rng = data.test.pixels, np.random.default_rng(1)
    assert (likeness.unlikeness(test) <= 1).mean() > 0.9
    noise = rng.integers(0, 256, test.shape, dtype=np.uint8)
    flat = np.broadcast_to(np.uint8(77), test.shape)
    for kind in (255 - test, test[:, ::-1], noise, flat):
        assert (likeness.unlikeness(kind) > 1).mean() > 0.9


def test_few_or_equal_images() -> None:
    none = np.zeros((0, 4, 4), dtype=np.uint8)
    some = np.full((5, 4, 4), 9, dtype=np.uint8)
    for train, validation in ((none, some), (some[:1], some), (some, none)):
        assert fit_likeness(train, validation) is None
    likeness = fit_likeness(some, some)
    assert likeness is not None
    assert (likeness.unlikeness(some) <= 1).all() and (likeness.unlikeness(some + np.uint8(90)) > 1).all()


def test_a_file_is_not_believed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path, images = tmp_path / "likeness.npz", rng.integers(0, 256, (60, 8, 9), dtype=np.uint8)
    likeness = fit_likeness(images, images)
    assert likeness is not None
    likeness.save(path)
    assert load_likeness(path, height=8, width=9).measures(images) == likeness.measures(images)
    with pytest.raises(ArtifactError, match="does not say what images of 9 x 8 look like"):
        load_likeness(path, height=9, width=8)
    whole = load_npz(path)
    for name, value, words in (
        ("mean", whole["mean"].astype(np.int64), "does not say"),
        ("components", whole["components"].astype(np.float64), "does not say"),
        ("components", np.full_like(whole["components"], 32767), "too large"),
        ("weights", whole["weights"][:1], "does not say"),
        ("weights", whole["weights"] - 2**21, "too large"),
        ("limits", np.zeros(3, dtype=np.int64), "does not say"),
        ("limits", np.ones(2, dtype=np.int64), "does not say"),
    ):
        save_npz(path, {**whole, name: value})
        with pytest.raises(ArtifactError, match=words):
            load_likeness(path, height=8, width=9)
