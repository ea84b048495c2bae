"""The folding search against trying everything, and its refusals."""

from functools import cache
from itertools import product
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contract.errors import ConfigError
from finn_build.config import Activation, BuildConfig
from finn_build.costs import Resources
from finn_build.folding import Budget, Problem, fastest, link, smallest, solve
from finn_build.ops import layer_op
from finn_build.ops.op import Folding, Layer
from finn_build.targets.boards import BOARDS

BOARD = BOARDS["pynq-z2"]
PLENTY = Budget(10**9, 10**9, 10**9)
SIZES = st.sampled_from([1, 2, 3, 4, 6])
BITS = st.sampled_from([1, 2, 4, 8])


@st.composite
def chains(draw: st.DrawFn) -> tuple[Layer, ...]:
    """A matrix product of 8 pixels, thresholds or none, and another product."""
    middle, out, w, a = draw(SIZES), draw(SIZES), draw(BITS), draw(BITS)
    first = Layer("a", "LutMVAU_rtl" if w == 1 else "MVAU_rtl", 8, middle, 8, a if w == a == 1 else 14, w, 14)
    last_w = draw(BITS)
    last = Layer("c", "LutMVAU_rtl" if 1 in (last_w, a) else "MVAU_rtl", middle, out, a, 16, last_w, 16)
    factor = draw(st.sampled_from([0, 4]))  # bits of what may multiply instead; 0: nothing
    activation = draw(st.sampled_from(get_args(Activation)))
    between = Layer(
        "b", "Thresholding_rtl", 1, middle, 14, a, factor_bits=factor, addend_bits=14, activation=activation
    )
    return (first, last) if w == a == 1 else (first, between, last)


def everything(layer: Layer) -> list[Folding]:
    """Every folding of a layer, however slow."""
    divisors = [[d for d in range(1, n + 1) if n % d == 0] for n in (layer.mh, layer.mw)]
    if layer.op_type == "Thresholding_rtl":
        only_thresholds = layer.activation == "thresholds" or not layer.factor_bits
        compare = [Folding(pe) for pe in divisors[0]]
        multiply = [
            Folding(pe, 1, style, in_luts, digit)  # type: ignore[arg-type]
            for pe in divisors[0]
            for digit in range(1, layer.factor_bits + 1)
            for in_luts in ((True, False) if digit == layer.factor_bits else (True,))
            for style in ("distributed", "block")
            if layer.factor_bits % digit == 0
            and (style == "distributed" or layer.mh // pe * (layer.factor_bits // digit) > 2)
        ]
        return compare if only_thresholds else multiply if layer.activation == "requantize" else compare + multiply
    pairs = list(product(*divisors))
    return [
        Folding(pe, simd, style, in_luts)  # type: ignore[arg-type]
        for pe, simd in pairs
        for in_luts in ((False, True) if layer.op_type == "MVAU_rtl" else (False,))
        for style in ("distributed", "block")
        if style == "distributed" or layer.mw // simd * (layer.mh // pe) > 2
    ]


# Each is asked for in every combination of the other layers' foldings.
cost_of = cache(lambda layer, folding: layer_op(layer).cost(layer, folding, "xc7"))
converter = cache(lambda taken, given: link(taken, given, "xc7"))


def used_by(problem: Problem, foldings: tuple[Folding, ...]) -> Resources:
    """Add up nodes and converters, from the input stream on."""
    layers, simd = problem.layers, foldings[0].simd
    # A DMA drives 1, 2, 4 or 8 pixels per beat; all divide 8 pixels.
    width, total = 8 * (simd if simd in (1, 2, 4, 8) else 8), Resources()
    for layer, folding in zip(layers, foldings, strict=True):
        taken = layer.in_bits * (folding.pe if layer.op_type == "Thresholding_rtl" else folding.simd)
        total = total + converter(width, taken) + cost_of(layer, folding)
        width = layer.out_bits * folding.pe
    return total + converter(width, layers[-1].out_bits)  # the result stream carries one integer a beat


# The cheapest way that fits is beaten in blocks of memory by one way and in LUTs by another, by none in both.
NARROW = (
    Layer("a", "MVAU_rtl", 8, 1, 8, 14, 2, 14),
    Layer("b", "Thresholding_rtl", 1, 1, 14, 1),
    Layer("c", "LutMVAU_rtl", 1, 3, 1, 16, 8, 16),
)


@settings(max_examples=60, deadline=None)
@example(NARROW, 4, 0.515625)
@given(chains(), st.integers(1, 60), st.floats(0.0, 1.0))
def test_no_folding_is_cheaper(layers: tuple[Layer, ...], cycles: int, room: float) -> None:
    """`room` shrinks the budget from what the cheapest takes towards nothing."""
    plenty = Problem(layers, BOARD, PLENTY)
    fast_enough = [[f for f in everything(layer) if layer_op(layer).cycles(layer, f) <= cycles] for layer in layers]
    # An image's results leave one a beat.
    ways = [(used_by(plenty, f), f) for f in product(*fast_enough) if cycles >= layers[-1].mh]
    if ways:
        cheapest = min((used for used, _ in ways), key=plenty.price)
        budget = Budget(
            int(cheapest.lut * (1.5 - room)), cheapest.bram18 + int(2 * room), int(cheapest.dsp * (1.2 - room))
        )
    else:
        budget = PLENTY
    problem = Problem(layers, BOARD, budget)
    wanted = min((problem.price(used) for used, _ in ways if budget.holds(used)), default=None)
    found = smallest(problem, cycles)
    assert (found is None) == (wanted is None)
    if found is not None:
        assert found.used == used_by(problem, found.foldings)
        assert problem.price(found.used) == wanted
        assert found.cycles <= cycles
    quickest = fastest(problem)
    if wanted is not None:
        assert quickest is not None and quickest.cycles <= cycles
    elif quickest is not None:
        assert quickest.cycles > cycles


def mlp(*, budget: Budget = PLENTY) -> Problem:
    layers = (
        Layer("a", "MVAU_rtl", 784, 64, 8, 23, 8, 23),
        Layer("b", "Thresholding_rtl", 1, 64, 23, 8),
        Layer("c", "MVAU_rtl", 64, 1, 8, 22, 8, 22),
    )
    return Problem(layers, BOARD, budget)


def at(cycles: int) -> BuildConfig:
    """Return what asks for so many cycles per image."""
    return BuildConfig(target_fps=BuildConfig(target_fps="max").rate(cycles))


def test_it_never_folds_beyond_the_stream() -> None:
    found = fastest(mlp())
    assert found is not None and found.cycles == mlp().stream_cycles == 98
    slower = r"less than the 98 in which the DMA of pynq-z2 .* The nearest that fits is 'build.target_fps': 1020408\."
    with pytest.raises(ConfigError, match=f"97 cycles per image are {slower}"):
        solve(mlp(), at(97))


def test_what_does_not_fit_is_refused_with_the_nearest_that_does() -> None:
    tight = mlp(budget=Budget(20_000, 100, 40))
    nearest = fastest(tight)
    assert nearest is not None and nearest.cycles > 98
    slower = rf"takes {nearest.cycles}\. The nearest that fits is 'build.target_fps': {at(nearest.cycles).target_fps}\."
    with pytest.raises(ConfigError, match=rf"no folding gives 98 .* 40 DSP\); the fastest that fits {slower}"):
        solve(tight, at(98))
    with pytest.raises(
        ConfigError, match=r"no folding fits into the budget .* 1 DSP\): the cheapest takes .* DSP\. Make the"
    ):
        solve(mlp(budget=Budget(500, 100, 1)), BuildConfig(target_fps="max"))
