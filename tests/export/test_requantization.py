"""Multiply, add and shift: the thresholds' answers for every accumulator, from the smallest integers that give them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.errors import MismatchError
from contract.network import Dense, Input, IntegerNetwork
from contract.requantization import Requantization
from export import requantization as module
from export.requantization import requantization, requantized


def counts(thresholds: list[int], accumulators: range) -> list[int]:
    return [sum(acc >= t for t in thresholds) for acc in accumulators]


def answers(found: Requantization, channel: int, levels: int, accumulators: range) -> list[int]:
    m, b = int(found.factor[channel]), int(found.addend[channel])
    return [min(max((acc * m + b) >> found.shift, 0), levels) for acc in accumulators]


def search(thresholds: list[list[int]], spans: list[range]) -> Requantization | None:
    ends: list[NDArray[np.int64]] = [np.array([span[i] for span in spans]) for i in (0, -1)]
    return requantization(np.array(thresholds), *ends)


def smallest_by_trying(thresholds: list[int], span: range, largest_shift: int) -> tuple[int, int] | None:
    """Shift and factor, by looking at every pair of integers."""
    want = counts(thresholds, span)
    for shift in range(largest_shift + 1):
        for m in range((len(thresholds) + 1) << shift):
            reach = max(abs(span[0]), abs(span[-1])) * m + (len(thresholds) + 2 << shift)
            for b in range(-reach, reach + 1):
                if [min(max((acc * m + b) >> shift, 0), len(thresholds)) for acc in span] == want:
                    return shift, m
    return None


@st.composite
def quantizers(draw: st.DrawFn) -> tuple[list[list[int]], list[range]]:
    """Thresholds of uniform quantizers with rational gains, rounded; some channels reach no level, or always all."""
    levels, thresholds, spans = draw(st.sampled_from([1, 3, 7, 15, 255])), [], []
    for _ in range(draw(st.integers(1, 4))):
        p, q, r = draw(st.integers(1, 500)), draw(st.integers(1, 3000)), draw(st.integers(-(10**5), 10**5))
        low = draw(st.integers(-3000, 3000))
        span = range(low, low + draw(st.integers(1, 4000)))
        exact = [-((r - level * q) // p) for level in range(1, levels + 1)]  # ceil((level * q - r) / p)
        thresholds.append([min(max(t, span[0]), span[-1] + 1) for t in exact])
        spans.append(span)
    return thresholds, spans


@settings(max_examples=40, deadline=None)
@given(quantizers())
def test_uniform_quantizers_have_exact_integers(made: tuple[list[list[int]], list[range]]) -> None:
    thresholds, spans = made
    found = search(thresholds, spans)
    assert found is not None
    for channel, (wanted, span) in enumerate(zip(thresholds, spans, strict=True)):
        assert answers(found, channel, len(wanted), span) == counts(wanted, span)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_thresholds_are_answered_exactly_or_refused(data: st.DataObject) -> None:
    span = range(-20, 21)
    thresholds = sorted(data.draw(st.lists(st.integers(-20, 21), min_size=3, max_size=3)))
    found = search([thresholds], [span])
    if found is not None:
        assert answers(found, 0, 3, span) == counts(thresholds, span)


@pytest.mark.parametrize("thresholds", [[-2, 1, 3], [0, 0, 5], [-5, 0, 6], [1, 2, 3], [-4, -4, -4], [6, 6, 6]])
def test_the_smallest_shift_and_factor(thresholds: list[int]) -> None:
    span = range(-5, 6)
    found = search([thresholds], [span])
    tried = smallest_by_trying(thresholds, span, 4)
    assert (None if found is None else (found.shift, int(found.factor[0]))) == tried


@pytest.mark.parametrize(("bits", "levels"), [(24, 15), (26, 255)])
def test_wide_sums_have_them_too(bits: int, levels: int) -> None:
    """m has about as many bits as a sum, so that s has twice as many."""
    rng = np.random.default_rng(bits)
    gain = levels / 2 ** (bits - 3) * rng.uniform(0.3, 3, (16, 1))
    rows = np.ceil((np.arange(1, levels + 1) - 0.5 - rng.uniform(0, levels, (16, 1))) / gain).astype(np.int64)
    reach = np.full(16, 2**bits)
    found = requantization(rows, -reach, reach)
    assert found is not None
    np.testing.assert_array_equal(found.thresholds(-reach, reach), rows.clip(-(2**bits), 2**bits + 1))


def test_a_steep_channel_has_no_factor_at_the_largest_shift_but_at_small_ones() -> None:
    steep, flat, span = [7] * 255, [-4 * (128 - level) for level in range(255)], range(-(10**6), 10**6)
    found = search([steep, flat], [span, span])
    assert found is not None
    for channel, thresholds in enumerate((steep, flat)):
        near = range(-2000, 2000)
        assert answers(found, channel, 255, near) == counts(thresholds, near)


def test_integers_that_are_not_the_thresholds_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By no assert: the proof is the product, with `python -O` too."""
    real = module._Bounds.smallest
    monkeypatch.setattr(
        module._Bounds, "smallest", lambda self, shift: (real(self, shift)[0], real(self, shift)[1] - 1)
    )
    with pytest.raises(MismatchError, match=r"are not what their thresholds are. This is a bug"):
        search([[-2, 1, 3]], [range(-5, 6)])


def test_what_no_line_gives_is_refused() -> None:
    assert search([[0, 1, 1000]], [range(-2000, 2000)]) is None


def test_all_channels_share_the_largest_shift_that_one_needs() -> None:
    easy, hard = [1, 2, 3], [-2, 1, 3]
    span = range(-5, 6)
    alone = [search([t], [span]) for t in (easy, hard)]
    both = search([easy, hard], [span, span])
    assert both is not None and all(alone)
    assert both.shift == max(found.shift for found in alone if found)


def exact(layer: Dense, low: int, high: int) -> None:
    """Every sum that a layer can reach gets what its thresholds count; the rest of it is the same."""
    network = IntegerNetwork(Input(1, 1), (layer, Dense(np.ones((1, len(layer.weights)), dtype=np.int8), None)))
    made = requantized(network).dense[0]
    assert made.weights is layer.weights and (made.bipolar, layer.bipolar) == (False, False)
    assert made.requantization is not None and layer.thresholds is not None
    least, greatest = layer.accumulator_range(low, high)
    np.testing.assert_array_equal(made.thresholds, layer.thresholds.clip(least[:, None], greatest[:, None] + 1))
    for channel, span in enumerate(map(range, least.tolist(), (greatest + 1).tolist())):
        levels = layer.thresholds.shape[1]
        assert answers(made.requantization, channel, levels, span) == counts(layer.thresholds[channel].tolist(), span)


def test_layers_of_several_levels_get_integers_and_others_stay() -> None:
    weights = np.array([[3], [-2], [0]], dtype=np.int8)
    exact(Dense(weights, np.array([[100, 200, 300], [-300, -200, -100], [-5, 0, 1]])), 0, 255)
    exact(Dense(weights, np.array([[-(10**15), 200, 10**15]] * 3)), 0, 255)  # always reached, and never
    exact(Dense(weights, np.array([[100], [-100], [1]])), 0, 255)
    head = Dense(np.ones((1, 3), dtype=np.int8), None)
    sign = Dense(weights, np.array([[100], [-100], [1]]), bipolar=True)
    bent = Dense(weights, np.array([[1, 2, 700]] * 3))
    for layer in (sign, bent):
        network = IntegerNetwork(Input(1, 1), (layer, head))
        assert requantized(network).dense == network.dense
        assert requantized(IntegerNetwork(Input(1, 1), (head,))).dense == (head,)


def test_channels_that_have_the_same_thresholds_get_the_same_integers() -> None:
    """Alone, each would get others: no two have the same reach."""
    weights = np.array([[1], [2], [-3], [5]], dtype=np.int8)
    row = np.arange(-700, 1200, 127)
    layer = Dense(weights, np.tile(row, (4, 1)))
    exact(layer, 0, 255)
    network = requantized(IntegerNetwork(Input(1, 1), (layer, Dense(np.ones((1, 4), dtype=np.int8), None))))
    found = network.dense[0].requantization
    assert found is not None and len(set(found.factor.tolist())) == len(set(found.addend.tolist())) == 1
