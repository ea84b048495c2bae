"""The FIFOs of a design: where a layer would wait for its neighbours without one, and no deeper than that takes.

A matrix-vector unit takes the beats of its next vector in bursts, when its own buffer is free, and gives results
evenly; in between beats must wait. A FIFO that holds a whole vector is enough for any folding: while a layer works on
one vector, in its own buffer, the FIFO takes all of the next. A window generator waits for rows, and then gives their
windows in a burst: there a FIFO that holds a whole image is enough, and few vectors mostly are, so their number doubles
from one. From that bound each FIFO shrinks, the widest stream's first, to the smallest depth with which the chain loses
no cycle; `timing.py` has the chain. All depths together are
minimal in this sense: one less in any of them costs cycles, except for SMALLEST, since fifo.sv holds no fewer. Most
streams need none.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_build import compiled_chain
from finn_build.ops import op_of
from finn_build.ops.fifo import SMALLEST, make_fifo
from finn_build.ops.op import beats
from finn_build.timing import FOREVER, Chain, Part

LONG = 2000  # cycles of an image from which on compiling the chain is worth it
PATIENCE = 128  # images: a chain with windows that is slower than it need be may take thousands to repeat itself
SHORT_PATIENCE = 16  # the same of a chain that is not filled before
LATENCY = 8  # beats that may arrive while a FIFO and a layer notice each other


@dataclass(frozen=True)
class Stage:
    """One node of the chain."""

    name: str
    make: Callable[[], Part]  # a new one, empty
    cycles: int  # per image, if nothing makes it wait
    beats: int  # per image, on its input
    bits: int  # of an input beat
    layer: bool = False  # it computes, rather than moving data
    results: int = 1  # beats per image, on its output
    vectors: int = 1  # per image, on its input


def stages(model: ModelWrapper) -> list[Stage]:
    """Return the nodes of a folded graph with its width converters, and its FIFOs if it has them already."""
    return [_stage(model, getCustomOp(node)) for node in model.graph.node]


def _stage(model: ModelWrapper, inst: Any) -> Stage:
    op, node = op_of(inst.onnx_node), inst.onnx_node
    width, (taken, given) = int(inst.get_instream_width()), beats(inst)
    vectors = prod(map(int, inst.get_normal_input_shape()[1:-1]))
    return Stage(node.name, op.handshake(inst), op.node_cycles(model, inst), taken, width, op.computes, given, vectors)


def bound(stage: Stage) -> int:
    """Return a depth that is enough in front of this stage, whatever surrounds it."""
    return max(stage.beats + LATENCY, SMALLEST)


def _of_vector(stage: Stage) -> int:
    """Return a depth that holds one of its vectors."""
    return max(-(-stage.beats // stage.vectors) + LATENCY, SMALLEST)


def chain(stages: Sequence[Stage], depths: dict[str, int]) -> tuple[Chain, int]:
    """Return a new chain with FIFOs of these depths in front of the stages named, and its last slowest part."""
    parts: list[Part] = []
    slowest = most = 0
    for stage in stages:
        if depths.get(stage.name):
            parts.append(make_fifo(depths[stage.name]))
        if stage.cycles >= most:
            slowest, most = len(parts), stage.cycles
        parts.append(stage.make())
    return Chain(parts, results=stages[-1].results), slowest


def interval(stages: Sequence[Stage], depths: dict[str, int]) -> Fraction:
    """Return the cycles per image with FIFOs of these depths in front of the stages named."""
    return max(_intervals(stages, depths))


def _intervals(stages: Sequence[Stage], depths: dict[str, int]) -> Iterator[Fraction]:
    """Yield the cycles per image that the chain settles on where it starts full, and where it starts empty.

    The hardware starts empty, which takes longer to follow. Only a chain with windows may then settle on more.
    """
    settle = compiled_chain.interval if max(stage.cycles for stage in stages) > LONG else Chain.interval
    windows = any(stage.vectors > 1 for stage in stages)
    yield settle(*chain(stages, depths), PATIENCE if windows else FOREVER)
    if windows:
        yield settle(chain(stages, depths)[0], None, SHORT_PATIENCE)


def latency_bound(stages: Sequence[Stage]) -> int:
    """Return the cycles from the first pixel to the first logit, at most.

    The sum of the layers' own intervals and of the registers in a row. A first layer whose vector takes longer to
    arrive than to read once, behind a width converter, starts its last passes that much later.
    """
    first = next(stage for stage in stages if stage.layer)
    late = max(0, stages[0].cycles - first.beats) if stages[0] is not first else 0
    return late + sum(stage.cycles for stage in stages if stage.layer) + sum(s.make().latency for s in stages)


def fifo_depths(stages: Sequence[Stage]) -> dict[str, int]:
    """Return the FIFOs that the chain needs, as the depth in front of each stage that needs one.

    The chain is the same as if every stage were tried alone, the widest stream's first: a deeper FIFO never costs a
    cycle, so stages that can all do without one at once can do so one after the other.
    """
    if interval(stages, {}) == max(stage.cycles for stage in stages):  # no chain is faster than its slowest stage
        return {}
    target, times = interval(stages, {stage.name: bound(stage) for stage in stages}), 1
    while interval(stages, depths := {s.name: min(bound(s), times * _of_vector(s)) for s in stages}) > target:
        times *= 2
    _settle(stages, depths, sorted(stages, key=lambda s: -s.bits), target)
    return {name: depth for name, depth in depths.items() if depth}


def _settle(stages: Sequence[Stage], depths: dict[str, int], group: Sequence[Stage], target: Fraction) -> None:
    """Shrink the `depths` in front of a group of stages, one after the other, while the interval is `target`."""

    def enough(changed: dict[str, int]) -> bool:
        return all(found <= target for found in _intervals(stages, {**depths, **changed}))

    none = {stage.name: 0 for stage in group}
    if enough(none):
        depths.update(none)
    elif len(group) > 1:
        half = len(group) // 2
        _settle(stages, depths, group[:half], target)
        _settle(stages, depths, group[half:], target)
    else:
        (name,) = none
        depths[name] = _smallest(lambda depth: enough({name: depth}), depths[name])


def _smallest(enough: Callable[[int], bool], known: int) -> int:
    """Return the smallest depth from SMALLEST to `known`, which is enough, that is enough. Most are small."""
    low, high = SMALLEST, SMALLEST
    while high < known and not enough(high):
        low, high = high + 1, 2 * high
    high = min(high, known)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
