"""The host's side of an answer: what integer thresholds, probabilities and classes are."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.decision import Decision, integer_threshold, sigmoid
from contract.errors import ConfigError


@example(0.1, -0.2, 0.1, None)  # the quotient is rounded up, to 3, whose logit is greater than the point
@given(st.floats(1e-6, 1e3), st.floats(-1e3, 1e3), st.floats(-50, 50), st.none() | st.integers(-(10**6), 10**6))
def test_integer_threshold_is_its_definition(scale: float, offset: float, point: float, exact: int | None) -> None:
    if exact is not None:
        point = scale * exact + offset  # exactly on a logit: `greater` must not include it
    try:
        t = integer_threshold(point, scale, offset)
    except ConfigError:
        assert abs((point - offset) / scale) > 2**30
        return
    assert not scale * t + offset > point
    assert scale * (t + 1) + offset > point


@pytest.mark.parametrize(
    ("scale", "point"),
    [(1e-300, 1.0), (1e-17, 1.0), (1e-300, -1.0), (1.0, 2.0**31), (1.0, math.inf), (1.0, math.nan), (5e-324, 1e300)],
)
def test_an_operating_point_outside_32_bits_is_refused_at_once(scale: float, point: float) -> None:
    with pytest.raises(ConfigError, match=r"the operating point .* is the integer logit .*, outside 32 bits"):
        integer_threshold(point, scale, 0.0)


def test_probability_and_class() -> None:
    decision = Decision(scale=0.5, offset=-1.0, threshold=2, rule="test")
    logits = np.array([-(2**31), 1, 2, 3, 2**31 - 1])
    np.testing.assert_array_equal(decision.classes(logits), [0, 0, 0, 1, 1])
    expected = [0.0, 1 / (1 + math.exp(0.5)), 0.5, 1 / (1 + math.exp(-0.5)), 1.0]
    np.testing.assert_allclose(decision.probability(logits), expected, rtol=1e-15)
    assert sigmoid(0.0) == 0.5
