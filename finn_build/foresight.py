"""Before a training: whether the network that it will give can be built.

How wide sums are is known only afterwards, so the folding is searched for twice: with the widest sums that the layers
can have, and with the narrowest. What fits with the widest is sure to be built. What does not even fit with the
narrowest is refused, with the nearest that is sure. In between nobody knows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from contract.errors import ConfigError
from contract.values import PIXELS
from finn_build.config import Activation, BuildConfig
from finn_build.folding import Problem, UnfoldableError, asked, budget, fastest, smallest, solve
from finn_build.ops.activation import MOST_BITS, STEP
from finn_build.ops.op import Layer
from finn_build.plan import BIPOLAR, Node, Sizes, plan, signed_type, width
from finn_build.targets.boards import BOARDS

PIXEL_TYPE = PIXELS.name.upper()  # what networks that are trained here read
FEW = 64  # ternary weights, of which by chance all may be -1 or +1: binary ones, for another unit
FINE = 32  # the nearest sizes are found to this part of themselves
SMALLEST_IMAGE = 64  # pixels that an experiment can ask for
BOARD = "the board "
_Change = Callable[[Sequence["Shape"], BuildConfig], tuple[Sequence["Shape"], BuildConfig]]


@dataclass(frozen=True)
class Shape:
    """What is known of a layer before its training."""

    inputs: int
    outputs: int
    weight_bits: int  # 1 is bipolar; the largest weight of a layer has all its bits
    act_bits: int | None  # 1 is bipolar; None: the head
    factor_bits: int | None = None  # that exact factors will have at most; None: nobody knows, or whether there are any


def foresee(network: Sequence[Shape], config: BuildConfig) -> list[str]:
    """Return sentences about what may stop the build of a network with these layers.

    Raises:
        ConfigError: it cannot be built, with this folding file, or at this rate within this budget.
    """
    config.filled.stream_pixels(network[0].inputs, PIXELS.bits, stream_bits=config.stream_bits)
    if config.folding is not None:
        _foresee_folding(network, config)
        return []
    weights, room = _weight_bits(network), _room(config)
    if weights > 2 * room:  # far too many: no need to search
        raise ConfigError(
            f"this network cannot be built: its weights have {weights // 1000:,} Kbit, but the budget of "
            f"{config.board} has memory for {room // 1000:,}. {_nearest_sizes(network, config)}"
        )
    try:
        for by_chance in _chances(network):
            solve(_problem(network, config, hopeful=False, by_chance=by_chance), config)
    except UnfoldableError as err:
        reason = err.found
    else:
        return []
    hopeful = (_problem(network, config, hopeful=True, by_chance=by_chance) for by_chance in _chances(network))
    if any(_fits(problem, config.cycles) for problem in hopeful):
        return [f"the build may fail, which only the trained weights decide: {reason}"]
    raise ConfigError(f"this network cannot be built: {reason} {_nearest(network, config)}")


def _fits(problem: Problem, cycles: int | None) -> bool:
    slowest = max(problem.stream_cycles, *(layer.mw * layer.mh for layer in problem.layers))
    return smallest(problem, slowest if cycles is None else cycles) is not None


def _sure(network: Sequence[Shape], config: BuildConfig) -> bool:
    if _weight_bits(network) > 2 * _room(config):
        return False
    problems = (_problem(network, config, hopeful=False, by_chance=by_chance) for by_chance in _chances(network))
    return all(_fits(problem, config.cycles) for problem in problems)


def _weight_bits(network: Sequence[Shape]) -> int:
    return sum(shape.inputs * shape.outputs * shape.weight_bits for shape in network)


def _room(config: BuildConfig) -> int:
    """Return the bits that all block RAMs and LUTs of the budget hold."""
    most = budget(config.filled)
    return 18 * 1024 * most.bram18 + 64 * most.lut


def _nearest(network: Sequence[Shape], config: BuildConfig) -> str:
    """Return a sentence with the fastest rate at which the network is sure to fit, or else with sizes that are."""
    rate = _fastest_rate(network, config)
    return _nearest_sizes(network, config) if rate is None else f"The nearest that is sure to fit is {asked(rate)}."


def _nearest_sizes(network: Sequence[Shape], config: BuildConfig) -> str:
    """Return a sentence with the largest hidden layers, of the same proportions, that are sure to fit.

    If there are none at this rate, with the highest rate at which one neuron a layer is, and the largest then; if there
    are none at any rate, with what helps.
    """
    slower = ""
    if not _sure(_scaled(network, 1), config):
        rate = _fastest_rate(_scaled(network, 1), config)
        if rate is None:
            return f"Not even one neuron in every hidden layer is sure to fit. {_help(network, config)}"
        config, slower = config.model_copy(update={"target_fps": rate}), f" at {asked(rate)}"
    low, high = 1, max(shape.outputs for shape in network[:-1])  # shares of the sizes: fits, does not fit
    while high - low > max(1, low // FINE):
        middle = (low + high) // 2
        low, high = (middle, high) if _sure(_scaled(network, middle), config) else (low, middle)
    sizes = [shape.outputs for shape in _scaled(network, low)[:-1]]
    return f"The nearest sizes that are sure to fit are 'network.hidden': {sizes}{slower}."


def _help(network: Sequence[Shape], config: BuildConfig) -> str:
    """Return what makes one neuron in every hidden layer sure to fit: each change that does alone, or else several."""
    tiny = _scaled(network, 1)
    changes = _changes(config)
    alone = [text for text, change in changes.items() if _fits_somehow(*change(tiny, config))]
    boards = [text for text in alone if text.startswith(BOARD)]
    alone = [text for text in alone if text not in boards[1:]]  # the smallest is enough
    if alone:
        return f"Use {' or '.join(alone)}."
    needed = dict(changes)
    for text in changes:  # give up each that the others do without
        fewer = {name: change for name, change in needed.items() if name != text}
        needed = fewer if _fits_somehow(*_all_of(fewer, tiny, config)) else needed
    return f"Use {' and '.join(needed)}."


def _changes(config: BuildConfig) -> dict[str, _Change]:
    """Return all that can make a network smaller, or the room for it larger, at its extreme."""
    by_size = sorted(BOARDS.values(), key=lambda board: board.lut)
    larger = [board.name for board in by_size if board.lut > BOARDS[config.board].lut]
    return {
        "fewer bits in 'network'": lambda network, config: (
            [replace(s, weight_bits=1, act_bits=None if s.act_bits is None else 1) for s in network],
            config,
        ),
        "a smaller image": lambda network, config: (
            [replace(network[0], inputs=min(network[0].inputs, SMALLEST_IMAGE)), *network[1:]],
            config,
        ),
        "fewer hidden layers": lambda network, config: ([network[0], network[-1]], config),
        "a larger 'build.budget'": _on_the_usual_budget,
        **({} if config.stream_bits is None else {"a wider 'build.stream_bits'": _on_any_stream}),
        **{f"{BOARD}{name}": partial(_on_board, name) for name in larger},
    }


def _on_board(name: str, network: Sequence[Shape], config: BuildConfig) -> tuple[Sequence[Shape], BuildConfig]:
    return network, config.model_copy(update={"board": name})


def _on_any_stream(network: Sequence[Shape], config: BuildConfig) -> tuple[Sequence[Shape], BuildConfig]:
    return network, config.model_copy(update={"stream_bits": None})


def _on_the_usual_budget(network: Sequence[Shape], config: BuildConfig) -> tuple[Sequence[Shape], BuildConfig]:
    usual = BOARDS[config.board].budget.model_dump()
    wider = {name: max(share, usual[name]) for name, share in config.budget.items()}
    return network, config.model_copy(update={"budget": wider})


def _all_of(
    changes: dict[str, _Change], network: Sequence[Shape], config: BuildConfig
) -> tuple[Sequence[Shape], BuildConfig]:
    for change in changes.values():
        network, config = change(network, config)
    return network, config


def _fits_somehow(network: Sequence[Shape], config: BuildConfig) -> bool:
    return _fastest_rate(network, config) is not None


def _fastest_rate(network: Sequence[Shape], config: BuildConfig) -> int | None:
    """Return the highest target_fps at which the network is sure to fit; None: there is none."""
    if _weight_bits(network) > 2 * _room(config):
        return None
    found = [fastest(_problem(network, config, hopeful=False, by_chance=chance)) for chance in _chances(network)]
    if not all(found):
        return None
    return config.rate(max(solution.cycles for solution in found if solution is not None))


def _scaled(network: Sequence[Shape], share: int) -> list[Shape]:
    """Return the network with `share` neurons in its largest hidden layer, all in proportion; many in eights."""
    sizes, most = [network[0].inputs], max(shape.outputs for shape in network[:-1])
    for shape in network[:-1]:
        size = max(1, shape.outputs * share // most)
        sizes.append(size // 8 * 8 if size > 8 else size)
    sizes.append(network[-1].outputs)
    return [replace(shape, inputs=mw, outputs=mh) for shape, (mw, mh) in zip(network, pairwise(sizes), strict=True)]


def _foresee_folding(network: Sequence[Shape], config: BuildConfig) -> None:
    """Refuse a folding file that does not fit the layers."""
    from finn_build import ops
    from finn_build.folding_file import read_folding
    from finn_build.hardware_graph import outline

    assert config.folding is not None
    ops.register()
    refusals = []
    for by_chance in _chances(network):
        try:
            read_folding(outline(_sizes(network, narrow=True, by_chance=by_chance), PIXEL_TYPE), config.folding)
        except ConfigError as err:
            refusals.append(err)
        else:
            return
    raise refusals[0]


def _chances(network: Sequence[Shape]) -> tuple[bool, ...]:
    return (False, True) if any(_may_be_binary(shape) for shape in network) else (False,)


def _may_be_binary(shape: Shape) -> bool:
    return shape.weight_bits == 2 and shape.inputs * shape.outputs <= FEW


def _problem(network: Sequence[Shape], config: BuildConfig, *, hopeful: bool, by_chance: bool) -> Problem:
    """Return a problem that is no harder (`hopeful`), or no easier, than that of any such network once trained."""
    narrow, wide = (
        [node for nodes in plan(_sizes(network, narrow=n, by_chance=by_chance), PIXEL_TYPE) for node in nodes]
        for n in (True, False)
    )
    layers = tuple(
        _layer(least, most, config.activation, network[0].factor_bits, hopeful=hopeful)
        for least, most in zip(narrow, wide, strict=True)
    )
    return Problem(layers, config.filled, budget(config.filled), config.stream_bits)


def _layer(least: Node, most: Node, activation: Activation, factor_bits: int | None, *, hopeful: bool) -> Layer:
    """Return a node whose widths are those of `least`, those of `most` or in between."""
    node = least if hopeful else most
    layer = Layer(node.name, node.kind, node.mw, node.mh, width(node.source), width(node.result))
    if node.weights:
        return replace(layer, weight_bits=width(node.weights), accu_bits=width(node.accumulator))
    layer = replace(layer, guesses=range(width(least.source), width(most.source) + 1), hopeful=hopeful, one_row=hopeful)
    if activation == "thresholds" or node.result == BIPOLAR:
        return layer
    if hopeful:  # whether integers exist that multiply and shift to the same, and how wide they are, is seen later
        return replace(layer, factor_bits=STEP, addend_bits=1, one_factor=True)
    if factor_bits is not None:
        return replace(layer, factor_bits=-(-factor_bits // STEP) * STEP, addend_bits=MOST_BITS)
    return layer


def _sizes(network: Sequence[Shape], *, narrow: bool, by_chance: bool) -> list[Sizes]:
    """Return the layers with the narrowest or the widest sums that they can have.

    Args:
        network: the layers.
        narrow: which of the two.
        by_chance: whether a few ternary weights turn out as binary ones.
    """
    low, high = PIXELS.low, PIXELS.high
    layers = []
    for shape in network:
        bits = 1 if by_chance and _may_be_binary(shape) else shape.weight_bits
        largest = max(1, 2 ** (bits - 1) - 1)
        weights = "BIPOLAR" if bits == 1 else signed_type(-largest, largest)
        if not narrow:
            reach = shape.inputs * largest * high
            sums, margins = (-reach, reach), (-2 * reach - 1, 2 * reach)
        else:
            sums = _narrow_sums(shape.inputs if bits == 1 else 1, largest, low, high)
            half = (sums[1] - sums[0] + 1) // 2
            margins = (-half, sums[1] - sums[0] - half)
        layers.append(Sizes(shape.inputs, shape.outputs, weights, sums, margins, shape.act_bits))
        if shape.act_bits is not None:
            low, high = (-1, 1) if shape.act_bits == 1 else (0, 2**shape.act_bits - 1)
    return layers


def _narrow_sums(count: int, largest: int, low: int, high: int) -> tuple[int, int]:
    """Return the sums that need the fewest bits, with at least `count` weights of the size `largest`."""
    if low < 0:
        return -count * largest, count * largest
    balanced = (-(count // 2) * largest * high, (count - count // 2) * largest * high)
    positive = (0, count * largest * high)
    bits = 1 + max((~balanced[0]).bit_length(), balanced[1].bit_length())
    return balanced if count > 1 and bits < positive[1].bit_length() else positive
