"""Multiply, add and shift: the same in 64 bits as without a limit, and the thresholds that follow from it.

The kind of fault: a number that wraps in int64, a quotient that is rounded the other way below 0, a channel whose
factor is 0, a level at the end of what a layer reaches.
"""

from fractions import Fraction
from math import floor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.network import Dense
from contract.requantization import LARGEST_ADDEND, LARGEST_PRODUCT, Requantization, largest_factors
from tests.integer_networks import random_requantization


def defined(acc: int, m: int, b: int, shift: int, levels: int) -> int:
    """With fractions, which have no width."""
    return min(max(floor(Fraction(acc * m + b, 2**shift)), 0), levels)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3, 7, 100, 255]),
    st.lists(
        st.tuples(st.integers(-(2**39), 2**39), st.sampled_from([0, 1, 9, 600, 10**6, 2**39])), min_size=1, max_size=4
    ),
)
def test_the_definition_and_its_thresholds_are_those_of_unlimited_integers(
    seed: int, levels: int, spans: list[tuple[int, int]]
) -> None:
    least, greatest = np.array([[low, low + span] for low, span in spans], dtype=np.int64).T
    found = random_requantization(np.random.default_rng(seed), least, greatest, levels=levels)
    found.require_fitting(least, greatest)
    thresholds = found.thresholds(least, greatest)
    assert thresholds.dtype == np.int64 and thresholds.shape == (len(spans), levels)
    places = np.concatenate([thresholds, thresholds - 1, least[:, None], greatest[:, None]], axis=1)
    places = places.clip(least[:, None], greatest[:, None])
    got = found(places.T).T
    for channel, accs in enumerate(places.tolist()):
        m, b = int(found.factor[channel]), int(found.addend[channel])
        want = [defined(acc, m, b, found.shift, levels) for acc in accs]
        assert got[channel].tolist() == want
        assert [sum(t <= acc for t in thresholds[channel].tolist()) for acc in accs] == want


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 7, 255]), st.integers(-500, 500), st.integers(0, 300))
def test_thresholds_count_the_answer_of_every_sum(seed: int, levels: int, low: int, span: int) -> None:
    least, greatest = np.array([[low], [low + span]], dtype=np.int64)
    found = random_requantization(np.random.default_rng(seed), least, greatest, levels=levels)
    (thresholds,) = found.thresholds(least, greatest).tolist()
    assert all(low <= t <= low + span + 1 for t in thresholds) and thresholds == sorted(thresholds)
    for acc in range(low, low + span + 1):
        want = defined(acc, int(found.factor[0]), int(found.addend[0]), found.shift, levels)
        assert sum(t <= acc for t in thresholds) == want


def test_nothing_wraps_at_the_ends_of_what_is_legal() -> None:
    reach = np.array([2**40 - 1, 2**40 - 1])
    factor = largest_factors(-reach, reach)
    assert LARGEST_PRODUCT - int(factor[0]) <= int(factor[0]) * (2**40 - 1) <= LARGEST_PRODUCT
    found = Requantization(factor, np.array([LARGEST_ADDEND, -LARGEST_ADDEND]), 44, 2**16 - 1)
    found.require_fitting(-reach, reach)
    sums = [factor.tolist()[0] * acc for acc in (-(2**40) + 1, 2**40 - 1)]
    want = [[min(max((s + b) >> 44, 0), 2**16 - 1) for b in (2**61, -(2**61))] for s in sums]
    assert found(np.stack([-reach, reach])).tolist() == want


def test_a_layer_that_falls_is_one_that_rises_with_the_signs_of_its_weights_changed() -> None:
    """Why a negative factor is none: it says nothing that weights cannot."""
    weights = np.array([[3, -5]], dtype=np.int8)
    x = np.array(np.meshgrid(range(0, 256, 15), range(0, 256, 15))).reshape(2, -1).T
    falling = [min(max((-7 * (3 * int(a) - 5 * int(b)) + 900) >> 5, 0), 15) for a, b in x]
    found = Requantization(np.array([7], dtype=np.int64), np.array([900], dtype=np.int64), 5, 15)
    assert Dense(-weights, None).requantized(found, 0, 255)(x)[:, 0].tolist() == falling
