"""Which PE, SIMD, memory, and DSPs or LUTs each layer gets: the smallest design at a rate, or the fastest that fits.

An exact search. The layers form a chain, and what a layer costs depends on its own folding and, through the width
converter between them, on its neighbour's. So the search walks the chain and keeps, for every width of the stream that
leaves a layer, the cheapest ways to get there: by price alone first, which is exact where it stays within the budget,
and else all ways that no other way beats in every resource.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from contract.errors import ConfigError
from finn_build import costs
from finn_build.boards import Board
from finn_build.costs import RamStyle, Resources


@dataclass(frozen=True)
class Layer:
    """A node that computes, as far as its folding goes."""

    name: str
    op_type: str  # MVAU_rtl, LutMVAU_rtl or Thresholding_rtl
    mw: int  # inputs; of thresholds 1
    mh: int  # outputs, or channels
    in_bits: int  # of an input element
    out_bits: int  # of an output element
    weight_bits: int = 0
    accu_bits: int = 0
    narrow_weights: bool = True  # the most negative weight does not occur


@dataclass(frozen=True)
class Folding:
    """How one layer is folded."""

    pe: int
    simd: int = 1
    ram_style: RamStyle = "auto"
    in_luts: bool = False  # a layer that FINN's RTL would build of DSPs

    def attributes(self, layer: Layer) -> dict[str, int | str]:
        """Return FINN's attributes of the layer's node."""
        if layer.op_type == "Thresholding_rtl":
            return {"PE": self.pe}
        place: dict[str, int | str] = {"PE": self.pe, "SIMD": self.simd, "ram_style": self.ram_style}
        return place | {"resType": "lut" if self.in_luts else "dsp"} if layer.op_type == "MVAU_rtl" else place


@dataclass(frozen=True)
class Budget:
    """What the design may take."""

    lut: int
    bram18: int
    dsp: int

    def holds(self, used: Resources) -> bool:
        """Whether `used` fits."""
        return used.lut <= self.lut and used.bram18 <= self.bram18 and used.dsp <= self.dsp


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

    @property
    def stream_cycles(self) -> int:
        """Cycles in which the board's DMA can send one image: no design is faster."""
        return self.board.stream_cycles(self.layers[0].mw)

    def price(self, used: Resources) -> float:
        """Return LUT-equivalents."""
        return self.board.lut_equivalents(used.lut, used.bram18, used.dsp)


def smallest(problem: Problem, cycles: int) -> Solution | None:
    """Return the cheapest design of at most `cycles` per image within the budget; None if there is none."""
    options = [_options(problem, i, cycles) for i in range(len(problem.layers))]
    if cycles < problem.stream_cycles or not all(options):
        return None
    cheapest = _walk(problem, options, _only_cheapest(problem))
    if not cheapest or problem.budget.holds(cheapest[0].used):
        return _solution(problem, cheapest)
    return _solution(problem, _walk(problem, options, _unbeaten(problem.budget)))


def fastest(problem: Problem) -> Solution | None:
    """Return the cheapest of the designs with the fewest cycles per image within the budget; None if none fits."""
    reachable = sorted({max(c, problem.stream_cycles) for layer in problem.layers for c in _all_cycles(layer)})
    best, low, high = None, 0, len(reachable)
    while low < high:  # a slower design never needs more
        middle = (low + high) // 2
        found = smallest(problem, reachable[middle])
        best, low, high = (found, low, middle) if found else (best, middle + 1, high)
    return best


def solve(problem: Problem, cycles: int | None) -> Solution:
    """Return the cheapest design at `cycles` per image, or the fastest one if that is None.

    Raises:
        ConfigError: nothing fits; names the nearest that does.
    """
    if cycles is not None and cycles < problem.stream_cycles:
        raise ConfigError(
            f"{cycles:,} cycles per image are less than the {problem.stream_cycles:,} in which the DMA of "
            f"{problem.board.name} sends one. Ask for at most {1 / problem.stream_cycles:.4g} images per cycle."
        )
    found = fastest(problem) if cycles is None else smallest(problem, cycles)
    if found is not None:
        return found
    nearest = fastest(problem)
    if nearest is not None:
        raise ConfigError(
            f"no folding gives {cycles:,} cycles per image within {_budget(problem)}; the fastest that fits takes "
            f"{nearest.cycles:,}. Lower target_fps, or raise the budget."
        )
    slowest = max(c for layer in problem.layers for c in _all_cycles(layer))
    least = smallest(Problem(problem.layers, problem.board, Budget(*[10**9] * 3)), slowest)
    assert least is not None
    raise ConfigError(
        f"no folding fits into {_budget(problem)}: the cheapest takes {_amount(least.used)}. Make the network smaller "
        "or its widths narrower."
    )


def _budget(problem: Problem) -> str:
    budget = problem.budget
    return f"the budget of {problem.board.name} ({_amount(Resources(budget.lut, 0, budget.bram18, budget.dsp))})"


def _amount(used: Resources) -> str:
    return f"{used.lut:,} LUT, {used.bram18:,} BRAM18, {used.dsp:,} DSP"


def cost(layer: Layer, folding: Folding, family: costs.Family) -> Resources:
    """Return what one layer takes."""
    if layer.op_type == "Thresholding_rtl":
        return costs.thresholding(layer.mh, folding.pe, layer.in_bits, layer.out_bits, family)
    sizes = (layer.mw, layer.mh, folding.pe, folding.simd, layer.weight_bits, layer.in_bits, layer.accu_bits)
    if layer.op_type == "LutMVAU_rtl" or folding.in_luts:
        return costs.lut_mvau(*sizes, family, ram_style=folding.ram_style)
    return costs.mvau_rtl(*sizes, family, ram_style=folding.ram_style, narrow_weights=layer.narrow_weights)


def link(out_bits: int, in_bits: int, family: costs.Family) -> Resources:
    """Return what joins streams of these widths: nothing, or a width converter. FIFOs depend on both foldings."""
    return Resources() if out_bits == in_bits else costs.width_converter(out_bits, in_bits, family)


def cycles_of(layer: Layer, folding: Folding) -> int:
    """Return the initiation interval [cycles per image]."""
    return layer.mw // folding.simd * (layer.mh // folding.pe)


def divisors(n: int) -> list[int]:
    """Return the divisors of n, ascending."""
    return [d for d in range(1, n + 1) if n % d == 0]


@dataclass(frozen=True)
class _Option:
    """One folding of one layer, its own cost and the widths of its streams [bit]."""

    folding: Folding
    used: Resources
    in_width: int
    out_width: int


@dataclass(frozen=True)
class _Way:
    """A way to fold the chain up to some layer."""

    used: Resources
    foldings: tuple[Folding, ...]


def _all_cycles(layer: Layer) -> set[int]:
    return {layer.mw // simd * (layer.mh // pe) for pe, simd in product(divisors(layer.mh), divisors(layer.mw))}


def _options(problem: Problem, i: int, cycles: int) -> list[_Option]:
    """Return the foldings of layer i that are fast enough."""
    layer, family = problem.layers[i], problem.board.yosys_family
    options = []
    for pe, simd in product(divisors(layer.mh), divisors(layer.mw)):
        fold = layer.mw // simd * (layer.mh // pe)
        if fold > cycles:
            continue
        weighted = layer.op_type != "Thresholding_rtl"
        width_in = layer.in_bits * (simd if weighted else pe)
        for style, in_luts in product(_styles(fold) if weighted else ("auto",), _units(layer)):
            folding = Folding(pe, simd, style, in_luts)
            options.append(_Option(folding, cost(layer, folding, family), width_in, layer.out_bits * pe))
    return options


def _styles(words: int) -> tuple[RamStyle, ...]:
    """A memory of a word or two is no memory."""
    return ("distributed", "block") if words > 2 else ("distributed",)


def _units(layer: Layer) -> tuple[bool, ...]:
    """DSPs or LUTs, where there is a choice."""
    return (False, True) if layer.op_type == "MVAU_rtl" else (False,)


def _walk(problem: Problem, options: list[list[_Option]], keep: Callable[[list[_Way]], list[_Way]]) -> list[_Way]:
    """Return the ways through the whole chain that `keep` left, the cheapest first."""
    family = problem.board.yosys_family
    ways: dict[int, list[_Way]] = {}
    for option in options[0]:
        used = option.used + link(_input_width(problem, option), option.in_width, family)
        ways.setdefault(option.out_width, []).append(_Way(used, (option.folding,)))
    for layer in options[1:]:
        longer: dict[int, list[_Way]] = {}
        ways = {width: keep(list_) for width, list_ in ways.items()}
        for option in layer:
            for width, before in ways.items():
                step = option.used + link(width, option.in_width, family)
                longer.setdefault(option.out_width, []).extend(
                    _Way(way.used + step, (*way.foldings, option.folding)) for way in before
                )
        ways = longer
    return sorted(keep([way for list_ in ways.values() for way in list_]), key=lambda way: problem.price(way.used))


def _input_width(problem: Problem, first: _Option) -> int:
    """Return the width of the accelerator's input stream [bit]."""
    return 8 * problem.board.input_pixels(problem.layers[0].mw, first.folding.simd)


def _only_cheapest(problem: Problem) -> Callable[[list[_Way]], list[_Way]]:
    return lambda ways: [min(ways, key=lambda way: problem.price(way.used))]


def _unbeaten(budget: Budget) -> Callable[[list[_Way]], list[_Way]]:
    """Keep the ways within the budget that no other way beats in LUT, BRAM and DSP at once."""

    def keep(ways: list[_Way]) -> list[_Way]:
        fitting = sorted(
            (way for way in ways if budget.holds(way.used)), key=lambda w: (w.used.lut, w.used.bram18, w.used.dsp)
        )
        kept: list[_Way] = []
        for way in fitting:
            if not any(k.used.bram18 <= way.used.bram18 and k.used.dsp <= way.used.dsp for k in kept):
                kept.append(way)
        return kept

    return keep


def _solution(problem: Problem, ways: Sequence[_Way]) -> Solution | None:
    if not ways:
        return None
    best = ways[0]
    each = [cycles_of(layer, folding) for layer, folding in zip(problem.layers, best.foldings, strict=True)]
    return Solution(best.foldings, max(problem.stream_cycles, *each), best.used)
