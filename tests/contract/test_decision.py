"""The host's side of an answer: what integer thresholds, probabilities and classes are."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.decision import Choice, Decision, OneAgainstRest, choice, integer_threshold, sigmoid, with_points
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


LARGEST = Choice([2**30 - 1] * 2, [2**60 - 1, 1 - 2**60], 0, "the bounds", {"b": OneAgainstRest(1, 2**62 - 1)})
INT32 = st.integers(-(2**31), 2**31 - 1)


@st.composite
def choices(draw: st.DrawFn) -> tuple[Choice, list[list[int]]]:
    """A choice within the bounds of its file, few of them alike, and outputs, of which many give ties."""
    k = draw(st.integers(2, 5))
    multipliers = draw(st.lists(st.sampled_from([1, 2, 3]) | st.integers(1, 2**30 - 1), min_size=k, max_size=k))
    offsets = draw(st.lists(st.integers(-3, 3) | st.integers(1 - 2**60, 2**60 - 1), min_size=k, max_size=k))
    margin = draw(st.integers(-3, 3) | st.integers(1 - 2**62, 2**62 - 1))
    point = OneAgainstRest(draw(st.integers(0, k - 1)), margin)
    row = st.lists(st.integers(-2, 2) | INT32, min_size=k, max_size=k)
    return Choice(multipliers, offsets, draw(st.integers(-9, 60)), "", {"p": point}), draw(st.lists(row, min_size=1))


@example((LARGEST, [[2**31 - 1, 2**31 - 1], [-(2**31), -(2**31)], [-(2**31), 2**31 - 1], [2**31 - 1, -(2**31)]]))
@given(choices())
def test_the_class_is_its_definition_in_fractions(case: tuple[Choice, list[list[int]]]) -> None:
    """The kind of fault: a product that wraps, a sum in floats, the last of equals, on the edge of the bounds too."""
    chosen, outputs = case
    point = chosen.operating_points[next(iter(chosen.operating_points))]
    unit = Fraction(2) ** -chosen.shift
    want, want_at_point = [], []
    for row in outputs:
        logits = [(m * x + o) * unit for m, x, o in zip(chosen.multipliers, row, chosen.offsets, strict=True)]
        want.append(min(range(len(logits)), key=lambda k: (-logits[k], k)))
        rest = [k for k in range(len(logits)) if k != point.label]
        best = min(rest, key=lambda k: (-logits[k], k))
        want_at_point.append(point.label if logits[point.label] - logits[best] > point.margin * unit else best)
    array = np.array(outputs, dtype=np.int64)
    with np.errstate(all="raise"):
        found = chosen.classes(array)
        assert found.dtype == np.int64 and found.tolist() == want
        assert chosen.classes(array, next(iter(chosen.operating_points))).tolist() == want_at_point
    probabilities = chosen.probabilities(array)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert (probabilities.max(axis=1) == probabilities[np.arange(len(array)), found]).all()


@given(
    st.lists(st.tuples(st.floats(1e-6, 10), st.floats(-1e3, 1e3)), min_size=2, max_size=6),
    st.lists(INT32, min_size=6, max_size=6),
    st.floats(-10, 10),
)
def test_integers_say_what_the_scales_and_offsets_said(
    maps: list[tuple[float, float]], row: list[int], margin: float
) -> None:
    """Rounded once, when they are made: no logit moves by more than a few parts in 2**30 of the largest."""
    scales, offsets = zip(*maps, strict=True)
    made = with_points(choice(scales, offsets, rule="r"), 1, {"p": margin})
    outputs = np.array([row[: len(maps)]], dtype=np.int64)
    want = [Fraction(s) * x + Fraction(o) for s, x, o in zip(scales, row, offsets, strict=False)]
    unit = Fraction(2) ** -made.shift
    assert unit <= Fraction(max(scales)) / 2**28
    for k, logit in enumerate(want):
        found = (made.multipliers[k] * row[k] + made.offsets[k]) * unit
        assert abs(found - logit) <= unit * (abs(row[k]) + 1)
        assert made.real(outputs)[0, k] == pytest.approx(float(found), rel=1e-15)
    assert abs(made.operating_points["p"].margin * unit - Fraction(margin)) <= unit


@pytest.mark.parametrize(
    ("scales", "offsets", "message"),
    [
        ([1.0], [0.0], "expected as many, of two or more"),
        ([1.0, 1.0], [0.0], "expected as many"),
        ([1.0, 0.0], [0.0, 0.0], "not above 0"),
        ([1.0, math.nan], [0.0, 0.0], "not finite"),
        ([1.0, 1.0], [0.0, math.inf], "not finite"),
        ([1.0, 1e-10], [0.0, 0.0], "a class's integer says nothing"),
        ([1e-300, 1e-300], [0.0, 0.0], "the greatest scale is 1e-300"),
        ([1e300, 1e300], [0.0, 0.0], "the greatest scale is 1e[+]300"),
        ([1e-9, 1e-9], [0.0, 1e9], "an offset is 1e[+]09, which the integers"),
    ],
)
def test_scales_that_integers_cannot_carry_are_refused(scales: list[float], offsets: list[float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choice(scales, offsets, rule="r")


def test_margins_that_integers_cannot_carry_are_refused() -> None:
    made = choice([1.0, 2.0], [0.0, 0.0], rule="r")
    for margin, message in ((math.nan, "not finite"), (math.inf, "not finite"), (1e30, "a margin is 1e[+]30")):
        with pytest.raises(ConfigError, match=message):
            with_points(made, 0, {"p": margin})


def test_outputs_that_are_no_device_s_are_refused() -> None:
    made = choice([1.0, 2.0], [0.0, 0.0], rule="r")
    for outputs in ([[1, 2, 3]], [1, 2], [[2**31, 0]], [[0, -(2**31) - 1]]):
        with pytest.raises(ConfigError, match="expected"):
            made.classes(np.array(outputs, dtype=np.int64))
    with pytest.raises(ConfigError, match="no operating point 'x', expected one of default"):
        made.classes(np.zeros((1, 2), dtype=np.int64), "x")
    assert made.classes(np.zeros((0, 2), dtype=np.int64)).shape == (0,)
