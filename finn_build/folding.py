"""Which PE, SIMD, memory, and DSPs or LUTs each layer gets: the smallest design at a rate, or the fastest that fits.

An exact search. The layers form a chain, and what a layer costs depends on its own folding and, through the width
converter between them, on its neighbour's. So the search walks the chain and keeps, for every width of the stream that
leaves a layer, the cheapest ways to get there: by price alone first, which is exact where it stays within the budget.
Where it does not, prices that favour one resource or the other mostly prove that nothing fits, or find something that
does; then all ways that no other way beats in every resource are followed, as far as they may still become the best.

A layer that can take several pixels of an image at a time does so only where fewer would be too slow for the rate: then
the input stream is no wider than it must be.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from contract.errors import ConfigError
from finn_build.config import BuildConfig
from finn_build.costs import Family, Resources
from finn_build.ops import layer_op, width_converter
from finn_build.ops.op import Folding, Layer
from finn_build.targets.boards import Board


@dataclass(frozen=True)
class Budget:
    """What the design may take."""

    lut: int
    bram18: int
    dsp: int

    def holds(self, used: Resources) -> bool:
        """Whether `used` fits."""
        return used.lut <= self.lut and used.bram18 <= self.bram18 and used.dsp <= self.dsp


def budget(board: Board) -> Budget:
    """Return what a design may take of a board."""
    usable = board.usable
    return Budget(usable["lut"], usable["bram18"], usable["dsp"])


@dataclass(frozen=True)
class Solution:
    """A folding of every layer, and what the cost model says about it."""

    foldings: tuple[Folding, ...]
    cycles: int  # of the slowest layer and of the input stream, per image
    used: Resources


@dataclass(frozen=True)
class Problem:
    """What is folded, for which board."""

    layers: tuple[Layer, ...]
    board: Board
    budget: Budget
    stream_bits: int | None = None  # of the input stream; None: any that the DMA can drive

    @property
    def stream_cycles(self) -> int:
        """Cycles in which the board's DMA can send one image and take its results, one a beat: no design is faster.

        Raises:
            ConfigError: no beats of `stream_bits` divide an image.
        """
        first, last = self.layers[0], self.layers[-1]
        return max(self.board.stream_cycles(first.inputs, first.in_bits, stream_bits=self.stream_bits), last.mh)

    def price(self, used: Resources) -> float:
        """Return LUT-equivalents."""
        return self.board.lut_equivalents(used.lut, used.bram18, used.dsp)


def smallest(problem: Problem, cycles: int) -> Solution | None:
    """Return the cheapest design of at most `cycles` per image within the budget; None if there is none."""
    return _Search(problem).smallest(cycles)


def fastest(problem: Problem) -> Solution | None:
    """Return the cheapest of the designs with the fewest cycles per image within the budget; None if none fits."""
    return _Search(problem).fastest()


class UnfoldableError(ConfigError):
    """No design of this rate fits; `found` is the sentence without the advice."""

    def __init__(self, found: str, advice: str) -> None:
        """Say both."""
        super().__init__(f"{found} {advice}")
        self.found = found


def solve(problem: Problem, config: BuildConfig) -> Solution:
    """Return the cheapest design at the rate that `config` wants, or the fastest one if that is "max".

    Raises:
        UnfoldableError: nothing fits; names the nearest that does.
    """
    cycles, search = config.cycles, _Search(problem)
    found = search.fastest() if cycles is None else search.smallest(cycles)
    if found is not None:
        return found
    nearest = None if cycles is None else search.fastest()
    rate = None if nearest is None else config.rate(nearest.cycles)
    advice = (
        "Make the network smaller or its widths narrower."
        if rate is None
        else f"The nearest that fits is {asked(rate)}."
    )
    if cycles is not None and cycles < problem.stream_cycles:
        raise UnfoldableError(
            f"{cycles:,} cycles per image are less than the {problem.stream_cycles:,} in which the DMA of "
            f"{problem.board.name} sends one{_over(problem)} or takes its results{_wider(problem, cycles)}.",
            advice,
        )
    if nearest is not None:
        raise UnfoldableError(
            f"no folding gives {cycles:,} cycles per image within {_budget(problem)}; the fastest that fits takes "
            f"{nearest.cycles:,}.",
            advice,
        )
    raise UnfoldableError(
        f"no folding fits into {_budget(problem)}: the cheapest takes {_amount(search.cheapest().used)}.", advice
    )


def asked(rate: int) -> str:
    """Return how an experiment asks for a rate [images/s]."""
    return f"'build.target_fps': {rate}"


def _over(problem: Problem) -> str:
    return "" if problem.stream_bits is None else f" over the {problem.stream_bits} bits of 'build.stream_bits'"


def _wider(problem: Problem, cycles: int) -> str:
    """Return what to say of a wider stream, where that would be fast enough."""
    free = replace(problem, stream_bits=None)
    if problem.stream_bits is None or cycles < free.stream_cycles:
        return ""
    return f"; over a wider stream it sends one in {free.stream_cycles:,}"


def _budget(problem: Problem) -> str:
    budget = problem.budget
    return f"the budget of {problem.board.name} ({_amount(Resources(budget.lut, 0, budget.bram18, budget.dsp))})"


def _amount(used: Resources) -> str:
    return f"{used.lut:,} LUT, {used.bram18:,} BRAM18, {used.dsp:,} DSP"


@lru_cache(maxsize=1 << 16)
def link(out_bits: int, in_bits: int, family: Family) -> Resources:
    """Return what joins streams of these widths: nothing, or a width converter. FIFOs depend on both foldings."""
    return Resources() if out_bits == in_bits else width_converter.cost(out_bits, in_bits, family)


# What ways through the chain take, as an array of integers, (k, 4): LUT, BRAM18, DSP, flip-flops.
_Used = NDArray[np.int64]
_Index = NDArray[np.int64]
_Price = Callable[[_Used], NDArray[np.float64]]  # (..., 4) to (...)
_Keep = Callable[[_Used], _Index]  # which ways are followed
ROUNDING = 1e-9
IMPOSSIBLE = Resources(lut=1 << 40)  # more than any part has


def _row(used: Resources) -> tuple[int, int, int, int]:
    return used.lut, used.bram18, used.dsp, used.ff


class _Stage:
    """Every folding of one layer; behind the last one, what makes its results come one at a time."""

    def __init__(self, layer: Layer, family: Family, *, last: bool) -> None:
        op = layer_op(layer)
        self.foldings = list(op.foldings(layer))
        used = [_row(op.cost(layer, folding, family)) for folding in self.foldings]
        if last:
            ends = (
                _row(link(layer.out_bits * op.given(layer, folding), layer.out_bits, family))
                for folding in self.foldings
            )
            used = [tuple(map(sum, zip(*pair, strict=True))) for pair in zip(used, ends, strict=True)]  # type: ignore[misc]
        cycles = [op.cycles(layer, folding) for folding in self.foldings]
        ins = [layer.in_bits * op.taken(folding) for folding in self.foldings]
        outs = [layer.out_bits * op.given(layer, folding) for folding in self.foldings]
        self.layer = layer
        self.used, self.cycles = np.array(used), np.array(cycles)  # (n, 4), (n,)
        self.pixels = np.array([folding.pixels for folding in self.foldings])
        # The widths that its streams can have [bit], and which of them each folding has.
        self.in_widths, self.ins = np.unique(ins, return_inverse=True)
        self.out_widths, self.outs = np.unique(outs, return_inverse=True)

    def options(self, fast_enough: NDArray[np.bool_]) -> _Index:
        """Return which of the foldings that are fast enough the search looks at: those with the fewest pixels."""
        fewest = self.pixels[fast_enough].min(initial=self.pixels.max())
        return np.flatnonzero(fast_enough & (self.pixels == fewest))


@lru_cache(maxsize=128)
def _stage(layer: Layer, family: Family, *, last: bool) -> _Stage:
    return _Stage(layer, family, last=last)


@dataclass(frozen=True)
class _Ways:
    """Ways to fold the chain up to some layer."""

    used: _Used
    before: _Index  # (k,) the way up to the layer before that each continues
    option: _Index  # (k,) the layer's folding
    out: _Index  # (k,) the width of the stream that leaves it

    def take(self, index: _Index) -> "_Ways":
        """Return some of them."""
        return _Ways(self.used[index], self.before[index], self.option[index], self.out[index])


class _Search:
    """All foldings of the layers and all that joins them, for searches at several rates."""

    def __init__(self, problem: Problem) -> None:
        family, first = problem.board.yosys_family, problem.layers[0]
        self.problem = problem
        plain = [replace(layer, name="") for layer in problem.layers]
        self.stages = [_stage(layer, family, last=layer is plain[-1]) for layer in plain]
        self.cycles = [stage.cycles for stage in self.stages]
        entry = np.zeros((1, len(self.stages[0].in_widths), 4), dtype=np.int64)
        waits = np.zeros(len(self.stages[0].in_widths), dtype=np.int64)
        for folding, index in zip(self.stages[0].foldings, self.stages[0].ins, strict=True):
            pixels = layer_op(first).taken(folding)
            lanes = problem.board.input_pixels(first.inputs, pixels, first.in_bits, stream_bits=problem.stream_bits)
            entry[0, index] = _row(link(first.in_bits * lanes, first.in_bits * pixels, family))
            if problem.stream_bits is not None and lanes != pixels:  # what is asked for need not divide, nor be fast
                widths = first.in_bits * lanes, first.in_bits * pixels
                waits[index] = width_converter.converter_cycles(*widths, first.inputs // pixels)
        self.cycles[0] = np.maximum(self.cycles[0], waits[self.stages[0].ins])

        def joined(out_bits: int, in_bits: int, after: _Stage) -> Resources:
            element = after.layer.in_bits
            possible = after.layer.takes(out_bits // element, in_bits // element)
            return link(out_bits, in_bits, family) if possible else IMPOSSIBLE

        # What joins a width that leaves a layer, the first index, and one that enters the next, the second.
        self.links = [entry] + [
            np.array([[_row(joined(int(v), int(w), after)) for w in after.in_widths] for v in before.out_widths])
            for before, after in pairwise(self.stages)
        ]

    def fastest(self) -> Solution | None:
        """Return the cheapest of the designs with the fewest cycles within the budget; None if none fits."""
        least = self.problem.stream_cycles
        reachable = sorted({max(int(cycles), least) for stage in self.cycles for cycles in stage})
        best, low, high = self.smallest(reachable[-1]), 0, len(reachable) - 1
        while best is not None and low < high:  # a slower design never needs more
            middle = (low + high) // 2
            found = self.smallest(reachable[middle])
            best, low, high = (found, low, middle) if found else (best, middle + 1, high)
        return best

    def cheapest(self) -> Solution:
        """Return the cheapest design of all, however slow and whatever the budget."""
        return self._walk([stage.options(stage.cycles >= 0) for stage in self.stages], _cheapest(self._price))

    def smallest(self, cycles: int) -> Solution | None:
        """Return the cheapest design of at most `cycles` per image within the budget; None if there is none."""
        options = [stage.options(each <= cycles) for stage, each in zip(self.stages, self.cycles, strict=True)]
        if cycles < self.problem.stream_cycles or not all(map(len, options)):
            return None
        budget = self.problem.budget
        cheapest = self._walk(options, _cheapest(self._price))
        if budget.holds(cheapest.used):
            return cheapest
        limits, fitting = [], np.inf  # fitting: the price of some design that fits
        for price in _bounds(budget):
            found = self._walk(options, _cheapest(price)).used
            if price(np.array(_row(found))) > 1 + ROUNDING:
                return None
            fitting = min(fitting, self.problem.price(found)) if budget.holds(found) else fitting
            limits.append((price, 1.0))
        return self._exact(options, [*limits, (self._price, fitting)])

    def _price(self, used: _Used) -> NDArray[np.float64]:
        return np.asarray(self.problem.board.lut_equivalents(used[..., 0], used[..., 1], used[..., 2]))  # type: ignore[arg-type]

    def _exact(self, options: list[_Index], limits: list[tuple[_Price, float]]) -> Solution | None:
        """Return the cheapest design within `limits`, following each way that no other beats in every resource.

        A way is given up where the least that is still to come takes it beyond a limit.
        """
        rests = [self._rest(options, price) for price, _ in limits]

        def hopeless(number: int, ways: _Ways) -> NDArray[np.bool_]:
            over = [
                price(ways.used) + rest[number][ways.out] > limit * (1 + ROUNDING)
                for (price, limit), rest in zip(limits, rests, strict=True)
            ]
            return np.asarray(np.any(over, axis=0))

        try:
            return self._walk(options, _unbeaten, hopeless)
        except _NothingLeftError:
            return None

    def _rest(self, options: list[_Index], price: _Price) -> list[NDArray[np.float64]]:
        """Return, for every layer and every width that leaves it, the least price of all that is behind."""
        rest = [np.zeros(len(self.stages[-1].out_widths))]
        for stage, links, index in reversed(list(zip(self.stages, self.links, options, strict=True))):
            least = np.full(len(stage.in_widths), np.inf)
            np.minimum.at(least, stage.ins[index], price(stage.used[index]) + rest[0][stage.outs[index]])
            rest.insert(0, np.asarray((price(links) + least).min(axis=1)))
        return rest[1:]

    def _walk(
        self,
        options: list[_Index],
        keep: _Keep,
        hopeless: Callable[[int, _Ways], NDArray[np.bool_]] = lambda _, ways: np.zeros(len(ways.used), dtype=bool),
    ) -> Solution:
        """Return the cheapest of the ways through the whole chain that `keep` leaves at every width of every layer.

        Raises:
            _NothingLeftError: all were `hopeless`.
        """
        trail: list[_Ways] = []
        zero = np.zeros(1, dtype=np.int64)
        ways = _Ways(np.zeros((1, 4), dtype=np.int64), zero, zero, zero)
        for number, (stage, links, index) in enumerate(zip(self.stages, self.links, options, strict=True)):
            arriving: dict[int, tuple[_Used, _Index]] = {}  # by the width that enters: what they take, and which
            for width in np.unique(stage.ins[index]):
                used = ways.used + links[ways.out, width]
                kept = keep(used)
                arriving[width] = used[kept], kept
            before = [arriving[width] for width in stage.ins[index]]
            chosen = np.repeat(index, [len(kept) for _, kept in before])
            longer = _Ways(
                np.concatenate([used for used, _ in before]) + stage.used[chosen],
                np.concatenate([kept for _, kept in before]),
                chosen,
                stage.outs[chosen],
            )
            longer = longer.take(np.flatnonzero(~hopeless(number, longer)))
            if not len(longer.used):
                raise _NothingLeftError
            groups = [np.flatnonzero(longer.out == width) for width in np.unique(longer.out)]
            ways = longer.take(np.concatenate([group[keep(longer.used[group])] for group in groups]))
            trail.append(ways)
        last = keep(ways.used)
        return self._solution(trail, int(last[np.argmin(self._price(ways.used[last]))]))

    def _solution(self, trail: list[_Ways], at: int) -> Solution:
        """Return way number `at` of the last layer."""
        lut, bram18, dsp, ff = (int(n) for n in trail[-1].used[at])
        foldings: list[Folding] = []
        each: list[int] = []
        for stage, cycles, ways in zip(reversed(self.stages), reversed(self.cycles), reversed(trail), strict=True):
            foldings.insert(0, stage.foldings[ways.option[at]])
            each.append(int(cycles[ways.option[at]]))
            at = int(ways.before[at])
        return Solution(tuple(foldings), max(self.problem.stream_cycles, *each), Resources(lut, ff, bram18, dsp))


class _NothingLeftError(Exception):
    """No way through the chain is within the limits."""


def _cheapest(price: _Price) -> _Keep:
    return lambda used: np.array([np.argmin(price(used))])


def _bounds(budget: Budget) -> list[_Price]:
    """Return prices of which every design within the budget has at most 1: means of its shares of each resource."""

    def mean(*weights: int) -> _Price:
        have = np.array([budget.lut, budget.bram18, budget.dsp, np.inf]).clip(0.5)
        factors = np.array([*weights, 0]) / sum(weights) / have
        return lambda used: np.asarray(used @ factors)

    return [mean(1, 0, 0), mean(0, 1, 0), mean(0, 0, 1), mean(1, 1, 0), mean(3, 1, 0), mean(1, 3, 0), mean(1, 1, 1)]


def _unbeaten(used: _Used) -> _Index:
    """Keep the ways that no other way beats in LUT, BRAM and DSP at once."""
    order = np.lexsort((used[:, 2], used[:, 1], used[:, 0]))
    kept: list[int] = []
    corners: list[tuple[int, int]] = []  # (BRAM18, DSP) of those kept, without those that another one beats in both
    for i, bram18, dsp in zip(order.tolist(), *used[order, 1:3].T.tolist(), strict=True):
        if not any(b <= bram18 and d <= dsp for b, d in corners):
            kept.append(i)
            corners = [(b, d) for b, d in corners if b < bram18 or d < dsp] + [(bram18, dsp)]
    return np.array(kept)
