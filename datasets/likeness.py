"""What the training images look like, for the device's host to tell what is unlike them: see contract/likeness.py."""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from contract.likeness import MAX_PIXELS, SCALE_BITS, WEIGHT_BITS, Likeness

COMPONENTS = 32
PASS = 99  # of the validation images, within all limits [%]
ROUNDS = 20  # of the search for components
IMAGES = 4000  # looked at, at most
VALUES = 1 << 23  # pixels of them all: fewer images where each has many


def fit_likeness(train: NDArray[np.uint8], validation: NDArray[np.uint8]) -> Likeness | None:
    """Return what (N, H, W) training images look like, its limits chosen on the (M, H, W) validation images.

    None where there are too few images, or too many pixels, to say anything.
    """
    size = train[0].size if len(train) else 0
    if len(train) < 2 or not len(validation) or not size <= MAX_PIXELS:
        return None
    count = min(len(train), IMAGES, max(2, VALUES // size))
    chosen = train[np.linspace(0, len(train) - 1, count).astype(np.int64)]
    mean = np.rint(chosen.mean(axis=0)).astype(np.uint8)
    x = chosen.reshape(len(chosen), -1).astype(np.float64) - mean.reshape(-1)
    with threadpool_limits(1):  # small steps, for which threads wait for each other longer than they work
        variances, directions = _principal(x, min(COMPONENTS, len(x) - 1, size))
    variances = np.maximum(variances, 1.0)  # a gray level is rounded by as much as that
    weights = np.rint(variances.min(initial=np.inf) / variances * 2**WEIGHT_BITS).astype(np.int64)
    components = np.rint(directions * 2**SCALE_BITS).astype(np.int16).reshape(-1, *mean.shape)
    unlimited = Likeness(mean, components, weights, np.ones(3, dtype=np.int64))
    along, beyond = (sorted(values) for values in zip(*unlimited.measures(validation), strict=True))
    outside = len(validation) * (100 - PASS) // 300  # images beyond each of the three limits, at most
    limits = [along[-1 - outside], beyond[outside], beyond[-1 - outside]]
    return Likeness(mean, components, weights, np.maximum(limits, 1).astype(np.int64))


def _principal(x: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the greatest variances of (N, P) rows, (R,), and their directions, (R, P) of length 1; R <= `count`."""
    n, p = x.shape
    if p <= n:
        variances, vectors = _greatest(x.T @ x / n, count)
        return variances, vectors.T
    variances, vectors = _greatest(x @ x.T / n, count)
    rows = vectors.T @ x
    lengths = np.linalg.norm(rows, axis=1)
    there = lengths > 1e-6 * max(1.0, float(lengths.max()))
    return variances[there], rows[there] / lengths[there, None]


def _greatest(matrix: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the `count` greatest eigenvalues of a symmetric matrix, descending, and their vectors, one a column.

    By iteration of a subspace twice as wide: `eigh` of all takes seconds on a busy machine, and finds no others.
    """
    width = min(len(matrix), 2 * count)
    space = np.linalg.qr(np.random.default_rng(0).normal(size=(len(matrix), width)))[0]
    for _ in range(ROUNDS):
        space = np.linalg.qr(matrix @ space)[0]
    values, turned = np.linalg.eigh(space.T @ matrix @ space)
    return values[::-1][:count].copy(), (space @ turned)[:, ::-1][:, :count].copy()
